// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Contribution721} from "./Contribution721.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {IPromptRegistry} from "./IPromptRegistry.sol";
import {Payee} from "./PayeesLib.sol";
import {Versioned721} from "./Versioned721.sol";

/// @title PromptRegistry
/// @notice What {IPromptRegistry} describes.
contract PromptRegistry is Versioned721, IPromptRegistry {
    constructor(IIdAllocator allocator) Contribution721(allocator, "OpenLedger Prompts", "OLPROMPT") {}

    /// @inheritdoc IPromptRegistry
    function register(
        string calldata name_,
        bytes32 templateHash,
        string[] calldata variables,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id) {
        id = _register(name_, templateHash, uri, licence, payees);
        emit PromptVersionPublished(id, _publish(id, templateHash), variables);
    }

    /// @inheritdoc IPromptRegistry
    function publishVersion(
        uint32 id,
        bytes32 templateHash,
        string[] calldata variables,
        string calldata uri
    ) external onlyOwnerOf(id) returns (uint32 version) {
        version = _publish(id, templateHash, uri);
        emit PromptVersionPublished(id, version, variables);
    }
}
