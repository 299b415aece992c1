// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "./types/BatchHeader.sol";

/// @title IBatchChain
/// @notice Each operator's chain of batches: posted, pending while they can be proven wrong, then final (protocol.md §9).
interface IBatchChain {
    /// @notice An operator's chain of batches.
    /// @param tip Height of the newest batch that stands; 0 before the first.
    /// @param finalHeight Height of the newest final batch; 0 before the first.
    /// @param sequence Highest sequence used.
    /// @param finalisedAt When a batch last became final.
    struct Chain {
        uint64 tip;
        uint64 finalHeight;
        uint64 sequence;
        uint40 finalisedAt;
    }

    /// @notice A posted batch.
    /// @param headerHash Its name.
    /// @param submittedAt When it was posted.
    /// @param registryTime The header's.
    /// @param totalSpent The header's.
    /// @param demandDeadline Last second for the answer to the newest demand; 0 without one.
    /// @param openDemands Demands without an answer.
    struct PostedBatch {
        bytes32 headerHash;
        uint40 submittedAt;
        uint40 registryTime;
        uint96 totalSpent;
        uint40 demandDeadline;
        uint16 openDemands;
    }

    /// @notice A batch was posted.
    event BatchSubmitted(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        BatchHeader header
    );

    /// @notice A batch became final.
    event BatchFinalized(uint32 indexed operator, uint64 indexed height, bytes32 indexed headerHash);

    /// @notice The batch at `height` fell, and with it all up to `formerTip`; the tip is `height - 1` now.
    event BatchFell(uint32 indexed operator, uint64 indexed height, bytes32 indexed headerHash, uint64 formerTip);

    /// @notice Only the operator's signer may post.
    error Settlement_NotSigner(uint32 operator, address caller);

    /// @notice The next batch has another height.
    error Settlement_WrongHeight(uint64 height, uint64 expected);

    /// @notice The batch below has another header.
    error Settlement_WrongParent(bytes32 parentHash, bytes32 expected);

    /// @notice The sequence was used or skipped.
    error Settlement_SequenceUsed(uint64 sequence, uint64 highest);

    /// @notice The registry time must be between `earliest` and `latest`.
    error Settlement_RegistryTime(uint40 registryTime, uint256 earliest, uint256 latest);

    /// @notice A batch holds between one and `maximum` receipts.
    error Settlement_ReceiptCount(uint32 count, uint256 maximum);

    /// @notice The total spent must be between `lowest` and `highest`.
    error Settlement_TotalSpent(uint128 totalSpent, uint256 lowest, uint256 highest);

    /// @notice So many batches are pending that the next has to wait.
    error Settlement_TooManyPending(uint256 maximum);

    /// @notice The bond does not cover what is pending.
    error Settlement_BondTooSmall(uint256 bond, uint256 required);

    /// @notice No pending batch has this header.
    error Settlement_NotPending(uint32 operator, uint64 height, bytes32 headerHash);

    /// @notice The height must be above the final one and not above the tip.
    error Settlement_NothingToFinalize(uint64 height, uint64 finalHeight, uint64 tip);

    /// @notice The batch at `height` can become final after `readyAt`.
    error Settlement_NotRipe(uint64 height, uint256 readyAt);

    /// @notice Demands for the batch at `height` wait for an answer.
    error Settlement_OpenDemands(uint64 height, uint256 openDemands);

    /// @notice The header is not that of the operator's newest final batch.
    error Settlement_NotFinalHeader(bytes32 headerHash, bytes32 finalHeaderHash);

    /// @notice Posts the next batch. By the operator's signer.
    function submitBatch(BatchHeader calldata header) external;

    /// @notice Makes all pending batches up to `height` final. By anyone, once their windows have passed.
    function finalize(uint32 operator, uint64 height) external;

    /// @notice How an operator's chain of batches stands.
    function chainOf(uint32 operator) external view returns (Chain memory);

    /// @notice The batch last posted at a height; the ring keeps 64 heights. Zeros when there is none.
    function batchAt(uint32 operator, uint64 height) external view returns (PostedBatch memory);

    /// @notice Whether a batch is posted, stands and is not final.
    function isPending(uint32 operator, uint64 height, bytes32 headerHash) external view returns (bool);
}
