// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IIdAllocator} from "./IIdAllocator.sol";

/// @title IdAllocator
/// @notice What {IIdAllocator} describes.
contract IdAllocator is IIdAllocator {
    /// @dev Who may name the registries.
    address private immutable _DEPLOYER;

    /// @inheritdoc IIdAllocator
    uint32 public lastId;

    /// @dev In the order of the call to `wire`; empty until then.
    address[] private _registries;

    /// @dev Place of a registry in `_registries`, plus one.
    mapping(address registry => uint256) private _placeOf;

    /// @dev For each id one byte, its registry's place plus one: 32 ids a slot, so that handing out the next id rarely
    /// costs a new one.
    mapping(uint256 word => uint256) private _places;

    constructor() {
        _DEPLOYER = msg.sender;
    }

    /// @inheritdoc IIdAllocator
    function wire(address[] calldata registries_) external {
        // Check: once, by the deployer, distinct contracts.
        if (msg.sender != _DEPLOYER) revert IdAllocator_NotDeployer(msg.sender);
        if (_registries.length != 0) revert IdAllocator_AlreadySealed();
        uint256 count = registries_.length;
        if (count == 0 || count > type(uint8).max) revert IdAllocator_RegistryCount(count);

        // Effect.
        for (uint256 i; i < count; ++i) {
            address registry = registries_[i];
            if (registry.code.length == 0 || _placeOf[registry] != 0) revert IdAllocator_InvalidRegistry(registry);
            _placeOf[registry] = i + 1;
        }
        _registries = registries_;
        emit Sealed(registries_);
    }

    /// @inheritdoc IIdAllocator
    function allocate() external returns (uint32 id) {
        // Check.
        uint256 place = _placeOf[msg.sender];
        if (place == 0) revert IdAllocator_NotRegistry(msg.sender);

        // Effect.
        id = ++lastId;
        _places[id >> 5] |= place << ((id & 31) << 3);
    }

    /// @inheritdoc IIdAllocator
    function registryOf(uint32 id) external view returns (address) {
        uint256 place = (_places[id >> 5] >> ((id & 31) << 3)) & 0xff;
        return place == 0 ? address(0) : _registries[place - 1];
    }

    /// @inheritdoc IIdAllocator
    function registries() external view returns (address[] memory) {
        return _registries;
    }
}
