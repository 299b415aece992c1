// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IVersioned721} from "./IVersioned721.sol";
import {Payee} from "./PayeesLib.sol";

/// @notice A version of a DataNet that an adapter was trained on.
struct LineageEntry {
    uint32 dataNet;
    uint32 version;
}

/// @notice One version of an adapter.
/// @param baseModel Hash of the base model that it fits.
/// @param weightsHash Hash of its weights; the version's content hash.
/// @param rank Rank of its matrices.
/// @param targetModules Names of the modules that it changes, separated by commas.
/// @param lineage DataNet versions that it was trained on, at most 8.
struct AdapterVersion {
    bytes32 baseModel;
    bytes32 weightsHash;
    uint16 rank;
    string targetModules;
    LineageEntry[] lineage;
}

/// @title IAdapterRegistry
/// @notice Low-rank adapters of a base model, with the data that they were trained on.
interface IAdapterRegistry is IVersioned721 {
    /// @notice What the version just published is.
    event AdapterVersionPublished(
        uint32 indexed id,
        uint32 indexed version,
        bytes32 indexed baseModel,
        uint16 rank,
        string targetModules,
        LineageEntry[] lineage
    );

    /// @notice A base model must be named.
    error Adapter_NoBaseModel();

    /// @notice The rank must not be zero.
    error Adapter_NoRank();

    /// @notice More lineage entries than `maximum`.
    error Adapter_LineageTooLong(uint256 count, uint256 maximum);

    /// @notice The DataNet version at `index` of the lineage does not exist.
    error Adapter_UnknownLineage(uint256 index, uint32 dataNet, uint32 version);

    /// @notice Registers an adapter and publishes its first version. The token is the caller's.
    function register(
        string calldata name,
        AdapterVersion calldata first,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id);

    /// @notice Publishes the next version of an adapter. By its owner.
    function publishVersion(
        uint32 id,
        AdapterVersion calldata next,
        string calldata uri
    ) external returns (uint32 version);

    /// @notice The DataNet version at `index` of an adapter version's lineage; zeros when there is none. Never reverts.
    function lineageAt(
        uint32 id,
        uint32 version,
        uint256 index
    ) external view returns (uint32 dataNet, uint32 dataNetVersion);

    /// @notice The base model, rank and target modules of an adapter version; empty when it does not exist.
    function adapterOf(
        uint32 id,
        uint32 version
    ) external view returns (bytes32 baseModel, uint16 rank, string memory targetModules);
}
