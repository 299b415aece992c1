// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IContribution721} from "./IContribution721.sol";
import {IVersionHeads} from "./IVersionHeads.sol";
import {Payee} from "./PayeesLib.sol";

/// @title IDataNetRegistry
/// @notice DataNets, and the data contributed to them, each contribution a token of its own. The owner of a DataNet is
/// its curator. Records only ever grow: a contribution is accepted at most once and withdrawn at most once, and what a
/// published version holds never changes.
///
/// What is accepted while the newest version is n is in the versions from n + 1 on; what is withdrawn while it is n is in
/// the versions up to n.
interface IDataNetRegistry is IContribution721, IVersionHeads {
    /// @notice A DataNet was created. Its name, content and owner are in `Registered`.
    event DataNetCreated(uint32 indexed dataNet);

    /// @notice Version `version` of a DataNet holds all that is accepted and not withdrawn by now.
    event DataNetVersionPublished(uint32 indexed dataNet, uint32 indexed version);

    /// @notice Data were contributed. Their content root and owner are in `Registered`.
    event ContributionSubmitted(uint32 indexed id, uint32 indexed dataNet, uint32 documents, uint40 size);

    /// @notice The curator accepted a contribution; it is in the versions from `fromVersion` on.
    event ContributionAccepted(uint32 indexed id, uint32 indexed dataNet, uint32 fromVersion);

    /// @notice The curator rejected a contribution, for good.
    event ContributionRejected(uint32 indexed id, uint32 indexed dataNet);

    /// @notice The owner or the curator withdrew a contribution; it is in the versions below `untilVersion`.
    event ContributionWithdrawn(uint32 indexed id, uint32 indexed dataNet, uint32 untilVersion);

    /// @notice There is no DataNet `id`.
    error DataNet_Unknown(uint32 id);

    /// @notice Only the curator of the DataNet may do this.
    error DataNet_NotCurator(uint32 dataNet, address caller);

    /// @notice Only the contribution's owner and the DataNet's curator may do this.
    error DataNet_NotOwnerOrCurator(uint32 id, address caller);

    /// @notice There is no data contribution `id`.
    error DataNet_UnknownContribution(uint32 id);

    /// @notice A contribution has at least one document and one byte.
    error DataNet_EmptyContribution(uint32 documents, uint40 size);

    /// @notice The contribution was accepted, rejected or withdrawn already.
    error DataNet_AlreadyDecided(uint32 id);

    /// @notice The contribution was rejected or withdrawn already.
    error DataNet_AlreadyClosed(uint32 id);

    /// @notice Creates a DataNet without versions, owned by the caller.
    /// @param contentHash Hash of the document at `uri` that says what belongs in it.
    function createDataNet(
        string calldata name,
        bytes32 contentHash,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) external returns (uint32 dataNet);

    /// @notice Publishes the next version of a DataNet. By its curator.
    function publishVersion(uint32 dataNet) external returns (uint32 version);

    /// @notice Contributes data to a DataNet. The token is the caller's.
    /// @param contentRoot Root of the tree over the documents.
    /// @param documents Number of documents.
    /// @param size Their size in bytes.
    function submit(
        uint32 dataNet,
        bytes32 contentRoot,
        string calldata uri,
        string calldata licence,
        uint32 documents,
        uint40 size,
        Payee[] calldata payees
    ) external returns (uint32 id);

    /// @notice Accepts contributions that are not decided upon. By the curator.
    function accept(uint32[] calldata ids) external;

    /// @notice Rejects contributions that are not decided upon, for good. By the curator.
    function reject(uint32[] calldata ids) external;

    /// @notice Takes a contribution out of all later versions, for good. By its owner or the curator.
    function withdraw(uint32 id) external;

    /// @notice Where a contribution belongs and since when. Zeros for an unknown id; `fromVersion` and `acceptedAt` are
    /// zero until it is accepted, `untilVersion` and `withdrawnAt` until it is withdrawn. Reads one slot, never reverts.
    function contributionOf(
        uint32 id
    )
        external
        view
        returns (uint32 dataNet, uint32 fromVersion, uint32 untilVersion, uint40 acceptedAt, uint40 withdrawnAt);

    /// @notice How much a contribution holds and whether it was rejected.
    function contributionSizeOf(uint32 id) external view returns (uint32 documents, uint40 size, bool rejected);
}
