// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IVersioned721} from "./IVersioned721.sol";
import {Payee} from "./PayeesLib.sol";

/// @title IToolRegistry
/// @notice Tools that speak the Model Context Protocol.
interface IToolRegistry is IVersioned721 {
    /// @notice Where the version just published is reached.
    event ToolVersionPublished(uint32 indexed id, uint32 indexed version, string endpoint);

    /// @notice Registers a tool and publishes its first version. The token is the caller's.
    /// @param manifestHash Hash of the manifest at `uri`; the version's content hash.
    /// @param endpoint Where its server is reached.
    function register(
        string calldata name,
        bytes32 manifestHash,
        string calldata endpoint,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id);

    /// @notice Publishes the next version of a tool. By its owner.
    function publishVersion(
        uint32 id,
        bytes32 manifestHash,
        string calldata endpoint,
        string calldata uri
    ) external returns (uint32 version);
}
