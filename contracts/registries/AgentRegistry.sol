// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {CompositionCodec} from "../settlement/libraries/CompositionCodec.sol";
import {Hashes} from "../settlement/libraries/Hashes.sol";
import {ComposedAdapter, Composition, Pinned} from "../settlement/types/Composition.sol";
import {Contribution721} from "./Contribution721.sol";
import {IAgentRegistry} from "./IAgentRegistry.sol";
import {IContribution721} from "./IContribution721.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {IVersionHeads} from "./IVersionHeads.sol";
import {Payee} from "./PayeesLib.sol";
import {Versioned721} from "./Versioned721.sol";

/// @notice What agents are made of.
struct AgentParts {
    IVersionHeads dataNets;
    IVersionHeads adapters;
    IVersionHeads prompts;
    IVersionHeads tools;
}

/// @title AgentRegistry
/// @notice What {IAgentRegistry} describes.
contract AgentRegistry is Versioned721, IAgentRegistry {
    /// @notice Where the DataNet versions of compositions must exist.
    IVersionHeads public immutable DATANETS;

    /// @notice Where their adapter versions must exist.
    IVersionHeads public immutable ADAPTERS;

    /// @notice Where their prompt versions must exist.
    IVersionHeads public immutable PROMPTS;

    /// @notice Where their tool versions must exist.
    IVersionHeads public immutable TOOLS;

    /// @inheritdoc IContribution721
    mapping(uint32 id => bytes32) public override(Versioned721, IContribution721) contentHashOf;

    constructor(
        IIdAllocator allocator,
        AgentParts memory parts
    ) Contribution721(allocator, "OpenLedger Agents", "OLAGENT") {
        DATANETS = parts.dataNets;
        ADAPTERS = parts.adapters;
        PROMPTS = parts.prompts;
        TOOLS = parts.tools;
    }

    /// @inheritdoc IAgentRegistry
    function create(
        string calldata name_,
        bytes32 contentHash,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 agent) {
        agent = _register(name_, contentHash, uri, licence, payees);
        contentHashOf[agent] = contentHash;
    }

    /// @inheritdoc IAgentRegistry
    function publishVersion(
        uint32 agent,
        bytes calldata composition
    ) external onlyOwnerOf(agent) returns (uint32 version) {
        // Check: with the decoder that fraud proofs use, and that all it names exists.
        (CompositionCodec.Fault fault, Composition memory decoded) = CompositionCodec.decode(composition);
        if (fault != CompositionCodec.Fault.None) revert Agent_InvalidComposition(fault);
        _checkParts(decoded);

        // Effect.
        version = _publish(agent, Hashes.composition(composition));
        emit CompositionPublished(agent, version, composition);
    }

    function _checkParts(Composition memory composition) private view {
        Pinned memory prompt = composition.prompt;
        if (prompt.id != 0) _checkVersion(PROMPTS, prompt.id, prompt.version);
        for (uint256 i; i < composition.adapters.length; ++i) {
            ComposedAdapter memory adapter = composition.adapters[i];
            _checkVersion(ADAPTERS, adapter.id, adapter.version);
        }
        for (uint256 i; i < composition.dataNets.length; ++i) {
            Pinned memory dataNet = composition.dataNets[i];
            _checkVersion(DATANETS, dataNet.id, dataNet.version);
        }
        for (uint256 i; i < composition.tools.length; ++i) {
            Pinned memory tool = composition.tools[i];
            _checkVersion(TOOLS, tool.id, tool.version);
        }
    }

    /// @dev Versions run from 1 to the head, and the head of an unknown id is 0.
    function _checkVersion(IVersionHeads registry, uint32 id, uint32 version) private view {
        if (version == 0 || version > registry.headOf(id)) revert Agent_UnknownVersion(address(registry), id, version);
    }
}
