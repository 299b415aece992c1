// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IVersioned721} from "./IVersioned721.sol";
import {Payee} from "./PayeesLib.sol";

/// @title IPromptRegistry
/// @notice Prompt templates.
interface IPromptRegistry is IVersioned721 {
    /// @notice The variables that the version just published leaves open.
    event PromptVersionPublished(uint32 indexed id, uint32 indexed version, string[] variables);

    /// @notice Registers a prompt and publishes its first version. The token is the caller's.
    /// @param templateHash Hash of the template; the version's content hash.
    /// @param variables Names of the variables in the template.
    function register(
        string calldata name,
        bytes32 templateHash,
        string[] calldata variables,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id);

    /// @notice Publishes the next version of a prompt. By its owner.
    function publishVersion(
        uint32 id,
        bytes32 templateHash,
        string[] calldata variables,
        string calldata uri
    ) external returns (uint32 version);
}
