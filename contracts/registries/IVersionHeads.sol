// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title IVersionHeads
/// @notice A registry of things that grow by versions, numbered from 1.
interface IVersionHeads {
    /// @notice The newest version of `id`; 0 when there is none or no such id. Never reverts.
    function headOf(uint32 id) external view returns (uint32);
}
