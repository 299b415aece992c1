// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Contribution721} from "./Contribution721.sol";
import {IContribution721} from "./IContribution721.sol";
import {IDataNetRegistry} from "./IDataNetRegistry.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {IVersionHeads} from "./IVersionHeads.sol";
import {Payee} from "./PayeesLib.sol";

/// @title DataNetRegistry
/// @notice What {IDataNetRegistry} describes.
contract DataNetRegistry is Contribution721, IDataNetRegistry {
    /// @dev One slot, all 256 bits of it, because a fraud proof reads it once per entry. `dataNet` is never zero, so it
    /// also says that the contribution exists.
    struct ContributionRecord {
        uint32 dataNet;
        uint32 fromVersion;
        uint32 untilVersion;
        uint40 acceptedAt;
        uint40 withdrawnAt;
        uint32 documents;
        uint40 size;
        bool rejected;
    }

    /// @inheritdoc IVersionHeads
    mapping(uint32 dataNet => uint32) public headOf;

    /// @inheritdoc IContribution721
    mapping(uint32 id => bytes32) public override(Contribution721, IContribution721) contentHashOf;

    mapping(uint32 id => ContributionRecord) private _contributions;

    constructor(IIdAllocator allocator) Contribution721(allocator, "OpenLedger DataNets", "OLDATA") {}

    /// @inheritdoc IDataNetRegistry
    function createDataNet(
        string calldata name_,
        bytes32 contentHash,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 dataNet) {
        dataNet = _register(name_, contentHash, uri, licence, payees);
        contentHashOf[dataNet] = contentHash;
        emit DataNetCreated(dataNet);
    }

    /// @inheritdoc IDataNetRegistry
    function publishVersion(uint32 dataNet) external returns (uint32 version) {
        _checkCurator(dataNet);
        version = ++headOf[dataNet];
        emit DataNetVersionPublished(dataNet, version);
    }

    /// @inheritdoc IDataNetRegistry
    function submit(
        uint32 dataNet,
        bytes32 contentRoot,
        string calldata uri,
        string calldata licence,
        uint32 documents,
        uint40 size,
        Payee[] calldata payees
    ) external returns (uint32 id) {
        // Check.
        _curatorOf(dataNet);
        if (documents == 0 || size == 0) revert DataNet_EmptyContribution(documents, size);

        // Effect.
        id = _register("", contentRoot, uri, licence, payees);
        contentHashOf[id] = contentRoot;
        ContributionRecord storage record = _contributions[id];
        record.dataNet = dataNet;
        record.documents = documents;
        record.size = size;
        emit ContributionSubmitted(id, dataNet, documents, size);
    }

    /// @inheritdoc IDataNetRegistry
    function accept(uint32[] calldata ids) external {
        for (uint256 i; i < ids.length; ++i) {
            uint32 id = ids[i];
            // Check.
            ContributionRecord storage record = _undecided(id);

            // Effect.
            uint32 dataNet = record.dataNet;
            uint32 fromVersion = headOf[dataNet] + 1;
            record.fromVersion = fromVersion;
            record.acceptedAt = uint40(block.timestamp);
            emit ContributionAccepted(id, dataNet, fromVersion);
        }
    }

    /// @inheritdoc IDataNetRegistry
    function reject(uint32[] calldata ids) external {
        for (uint256 i; i < ids.length; ++i) {
            uint32 id = ids[i];
            // Check.
            ContributionRecord storage record = _undecided(id);

            // Effect.
            record.rejected = true;
            emit ContributionRejected(id, record.dataNet);
        }
    }

    /// @inheritdoc IDataNetRegistry
    function withdraw(uint32 id) external {
        // Check: by one of the two, once.
        ContributionRecord storage record = _contributions[id];
        uint32 dataNet = record.dataNet;
        if (dataNet == 0) revert DataNet_UnknownContribution(id);
        if (_ownerOf(id) != msg.sender && _ownerOf(dataNet) != msg.sender) {
            revert DataNet_NotOwnerOrCurator(id, msg.sender);
        }
        if (record.rejected || record.withdrawnAt != 0) revert DataNet_AlreadyClosed(id);

        // Effect.
        uint32 untilVersion = headOf[dataNet] + 1;
        record.untilVersion = untilVersion;
        record.withdrawnAt = uint40(block.timestamp);
        emit ContributionWithdrawn(id, dataNet, untilVersion);
    }

    /// @inheritdoc IDataNetRegistry
    function contributionOf(
        uint32 id
    )
        external
        view
        returns (uint32 dataNet, uint32 fromVersion, uint32 untilVersion, uint40 acceptedAt, uint40 withdrawnAt)
    {
        ContributionRecord memory record = _contributions[id];
        return (record.dataNet, record.fromVersion, record.untilVersion, record.acceptedAt, record.withdrawnAt);
    }

    /// @inheritdoc IDataNetRegistry
    function contributionSizeOf(uint32 id) external view returns (uint32 documents, uint40 size, bool rejected) {
        ContributionRecord storage record = _contributions[id];
        return (record.documents, record.size, record.rejected);
    }

    /// @dev The record of a contribution that is neither accepted, rejected nor withdrawn, for its curator.
    function _undecided(uint32 id) private view returns (ContributionRecord storage record) {
        record = _contributions[id];
        if (record.dataNet == 0) revert DataNet_UnknownContribution(id);
        _checkCurator(record.dataNet);
        if (record.acceptedAt != 0 || record.rejected || record.withdrawnAt != 0) revert DataNet_AlreadyDecided(id);
    }

    function _checkCurator(uint32 dataNet) private view {
        if (_curatorOf(dataNet) != msg.sender) revert DataNet_NotCurator(dataNet, msg.sender);
    }

    /// @dev Reverts when `dataNet` is no token, or a contribution's.
    function _curatorOf(uint32 dataNet) private view returns (address curator) {
        curator = _ownerOf(dataNet);
        if (curator == address(0) || _contributions[dataNet].dataNet != 0) revert DataNet_Unknown(dataNet);
    }
}
