// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Contribution721} from "./Contribution721.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {IToolRegistry} from "./IToolRegistry.sol";
import {Payee} from "./PayeesLib.sol";
import {Versioned721} from "./Versioned721.sol";

/// @title ToolRegistry
/// @notice What {IToolRegistry} describes.
contract ToolRegistry is Versioned721, IToolRegistry {
    constructor(IIdAllocator allocator) Contribution721(allocator, "OpenLedger Tools", "OLTOOL") {}

    /// @inheritdoc IToolRegistry
    function register(
        string calldata name_,
        bytes32 manifestHash,
        string calldata endpoint,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id) {
        id = _register(name_, manifestHash, uri, licence, payees);
        _announce(id, _publish(id, manifestHash), endpoint);
    }

    /// @inheritdoc IToolRegistry
    function publishVersion(
        uint32 id,
        bytes32 manifestHash,
        string calldata endpoint,
        string calldata uri
    ) external onlyOwnerOf(id) returns (uint32 version) {
        version = _publish(id, manifestHash, uri);
        _announce(id, version, endpoint);
    }

    function _announce(uint32 id, uint32 version, string calldata endpoint) private {
        _checkText(endpoint, MAX_URI_LENGTH);
        emit ToolVersionPublished(id, version, endpoint);
    }
}
