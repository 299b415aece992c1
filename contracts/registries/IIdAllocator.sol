// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title IIdAllocator
/// @notice One space of ids for everything that earns. Ids are handed out in order, from 1; 0 means none.
interface IIdAllocator {
    /// @notice The registries were named, once and for all; their order is the order of `registries`.
    event Sealed(address[] registries);

    /// @notice Only the deployer may name the registries.
    error IdAllocator_NotDeployer(address caller);

    /// @notice The registries are named already.
    error IdAllocator_AlreadySealed();

    /// @notice There must be between one and 255 registries.
    error IdAllocator_RegistryCount(uint256 count);

    /// @notice A registry is not a contract or is named twice.
    error IdAllocator_InvalidRegistry(address registry);

    /// @notice Only a registry may ask for an id.
    error IdAllocator_NotRegistry(address caller);

    /// @notice Names the registries that may ask for ids. Once, by the deployer.
    function wire(address[] calldata registries) external;

    /// @notice Hands out the next id to the calling registry.
    function allocate() external returns (uint32 id);

    /// @notice The registry that `id` was handed to; zero when it was not handed out. Never reverts.
    function registryOf(uint32 id) external view returns (address registry);

    /// @notice The registries in the order in which they were named; empty before.
    function registries() external view returns (address[] memory);

    /// @notice The highest id handed out; 0 before the first.
    function lastId() external view returns (uint32);
}
