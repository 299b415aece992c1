// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title ISettlementPools
/// @notice What the channels need of the settlement contract.
interface ISettlementPools {
    /// @notice Hash of the header of the operator's newest final batch; zero when it has none.
    function finalHeaderHashOf(uint32 operator) external view returns (bytes32);

    /// @notice Says that `amount` of OPEN, transferred just before, belongs to the operator's pool. By the channels.
    function creditPool(uint32 operator, uint256 amount) external;
}
