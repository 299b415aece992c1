// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Contribution721} from "./Contribution721.sol";
import {AdapterVersion, IAdapterRegistry, LineageEntry} from "./IAdapterRegistry.sol";
import {IDataNetRegistry} from "./IDataNetRegistry.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {Payee} from "./PayeesLib.sol";
import {Versioned721} from "./Versioned721.sol";

/// @title AdapterRegistry
/// @notice What {IAdapterRegistry} describes.
contract AdapterRegistry is Versioned721, IAdapterRegistry {
    /// @notice Most DataNet versions that a lineage may name.
    uint256 public constant MAX_LINEAGE = 8;

    /// @dev Entries of 64 bits in one slot of a lineage.
    uint256 private constant _ENTRIES_PER_SLOT = 4;

    /// @dev Beside the content hash and the time that every version has. The lineage takes two slots at most: entry i is
    /// `dataNet ‖ version`, 64 bits from bit `i % 4 × 64` of slot `i / 4`.
    struct AdapterRecord {
        bytes32 baseModel;
        uint256[2] lineage;
        uint16 rank;
        string targetModules;
    }

    /// @notice Where the DataNet versions of lineages must exist.
    IDataNetRegistry public immutable DATANETS;

    mapping(uint32 id => mapping(uint32 version => AdapterRecord)) private _adapters;

    constructor(
        IIdAllocator allocator,
        IDataNetRegistry dataNets
    ) Contribution721(allocator, "OpenLedger Adapters", "OLADAPTER") {
        DATANETS = dataNets;
    }

    /// @inheritdoc IAdapterRegistry
    function register(
        string calldata name_,
        AdapterVersion calldata first,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 id) {
        id = _register(name_, first.weightsHash, uri, licence, payees);
        _record(id, _publish(id, first.weightsHash), first);
    }

    /// @inheritdoc IAdapterRegistry
    function publishVersion(
        uint32 id,
        AdapterVersion calldata next,
        string calldata uri
    ) external onlyOwnerOf(id) returns (uint32 version) {
        version = _publish(id, next.weightsHash, uri);
        _record(id, version, next);
    }

    /// @inheritdoc IAdapterRegistry
    function lineageAt(
        uint32 id,
        uint32 version,
        uint256 index
    ) external view returns (uint32 dataNet, uint32 dataNetVersion) {
        if (index >= MAX_LINEAGE) return (0, 0);
        uint256 entry = _adapters[id][version].lineage[index / _ENTRIES_PER_SLOT] >> ((index % _ENTRIES_PER_SLOT) * 64);
        // Truncates to the entry's two halves.
        return (uint32(entry >> 32), uint32(entry));
    }

    /// @inheritdoc IAdapterRegistry
    function adapterOf(
        uint32 id,
        uint32 version
    ) external view returns (bytes32 baseModel, uint16 rank, string memory targetModules) {
        AdapterRecord storage record = _adapters[id][version];
        return (record.baseModel, record.rank, record.targetModules);
    }

    function _record(uint32 id, uint32 version, AdapterVersion calldata adapter) private {
        // Check.
        if (adapter.baseModel == 0) revert Adapter_NoBaseModel();
        if (adapter.rank == 0) revert Adapter_NoRank();
        _checkText(adapter.targetModules, MAX_URI_LENGTH);
        uint256 count = adapter.lineage.length;
        if (count > MAX_LINEAGE) revert Adapter_LineageTooLong(count, MAX_LINEAGE);

        // Effect.
        AdapterRecord storage record = _adapters[id][version];
        record.baseModel = adapter.baseModel;
        record.rank = adapter.rank;
        record.targetModules = adapter.targetModules;
        uint256[2] memory packed;
        for (uint256 i; i < count; ++i) {
            LineageEntry calldata entry = adapter.lineage[i];
            // Check: a version from 1 to the head; a contribution or a stranger's id has no head.
            if (entry.version == 0 || entry.version > DATANETS.headOf(entry.dataNet)) {
                revert Adapter_UnknownLineage(i, entry.dataNet, entry.version);
            }
            packed[i / _ENTRIES_PER_SLOT] |=
                ((uint256(entry.dataNet) << 32) | entry.version) << ((i % _ENTRIES_PER_SLOT) * 64);
        }
        record.lineage = packed;
        emit AdapterVersionPublished(
            id,
            version,
            adapter.baseModel,
            adapter.rank,
            adapter.targetModules,
            adapter.lineage
        );
    }
}
