// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {CompositionCodec} from "../settlement/libraries/CompositionCodec.sol";
import {IVersioned721} from "./IVersioned721.sol";
import {Payee} from "./PayeesLib.sol";

/// @title IAgentRegistry
/// @notice Agents: each version composes a base model, adapters, a prompt, DataNets and tools, and pins how a price is
/// made and split. The contract stores the composition's hash and emits its bytes.
interface IAgentRegistry is IVersioned721 {
    /// @notice The composition of the version just published, byte by byte.
    event CompositionPublished(uint32 indexed agent, uint32 indexed version, bytes composition);

    /// @notice The bytes are not a composition; `fault` is the first thing wrong with them.
    error Agent_InvalidComposition(CompositionCodec.Fault fault);

    /// @notice The composition names a version that does not exist.
    /// @param registry The registry that was asked.
    error Agent_UnknownVersion(address registry, uint32 id, uint32 version);

    /// @notice Creates an agent without versions, owned by the caller.
    /// @param contentHash Hash of the document at `uri` that describes it.
    function create(
        string calldata name,
        bytes32 contentHash,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 agent);

    /// @notice Publishes the next version of an agent. By its owner.
    function publishVersion(uint32 agent, bytes calldata composition) external returns (uint32 version);
}
