// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "./types/BatchHeader.sol";
import {RevealedReceipt} from "./types/RevealedReceipt.sol";

/// @title IChunkDemands
/// @notice Whoever lacks the receipts of a pending batch demands them chunk by chunk; a batch whose operator does not answer
/// falls. The operator is paid for its answer, in the chain's coin, which is kept until it is withdrawn.
interface IChunkDemands {
    /// @notice How a demand stands.
    enum DemandStatus {
        None,
        Open,
        Revealed,
        Withheld,
        Refunded
    }

    /// @notice A demand for the receipts of one chunk.
    /// @param demander Who paid for it.
    /// @param payment What the answer earns, in wei of the chain's coin.
    /// @param operator Whose batch it is.
    /// @param height The batch's height.
    /// @param deadline Last second for the answer.
    struct Demand {
        address demander;
        uint96 payment;
        uint32 operator;
        uint64 height;
        uint40 deadline;
        DemandStatus status;
    }

    /// @notice The receipts of a chunk were demanded until `deadline`.
    event ChunkDemanded(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        uint256 chunk,
        address demander,
        uint256 payment,
        uint40 deadline
    );

    /// @notice A demand was answered: the receipts of the chunk, and its path to the receipts root.
    event ChunkRevealed(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        uint256 chunk,
        RevealedReceipt[] receipts,
        bytes32[] path
    );

    /// @notice A demand was not answered in time.
    event ChunkWithheld(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        uint256 chunk,
        address demander
    );

    /// @notice The batch of a demand is gone; the payment went back.
    event DemandRefunded(bytes32 indexed headerHash, uint256 indexed chunk, address indexed demander, uint256 payment);

    /// @notice `account` may withdraw `amount` wei of the chain's coin more.
    event CoinsCredited(address indexed account, uint256 amount);

    /// @notice `account` got its `amount` wei of the chain's coin.
    event CoinsWithdrawn(address indexed account, uint256 amount);

    /// @notice The batch has no such chunk.
    error Settlement_ChunkOutOfRange(uint256 chunk, uint256 chunks);

    /// @notice Chunks of this batch could be demanded until `until`.
    error Settlement_DemandTooLate(uint256 until);

    /// @notice The chunk was demanded before.
    error Settlement_AlreadyDemanded(bytes32 headerHash, uint256 chunk);

    /// @notice The demand costs more.
    error Settlement_PaymentTooSmall(uint256 payment, uint256 required);

    /// @notice The price of a demand does not fit.
    error Settlement_PaymentTooLarge(uint256 price);

    /// @notice No demand for this chunk is open.
    error Settlement_NoOpenDemand(bytes32 headerHash, uint256 chunk);

    /// @notice The answer was due at `deadline`.
    error Settlement_RevealTooLate(uint40 deadline);

    /// @notice The operator may answer until `deadline`.
    error Settlement_RevealNotDue(uint40 deadline);

    /// @notice The chunk holds another number of receipts.
    error Settlement_ChunkSize(uint256 given, uint256 expected);

    /// @notice A body is longer than any body may be.
    error Settlement_BodyTooLong(uint256 place, uint256 length);

    /// @notice The receipts are not those of the chunk.
    error Settlement_WrongChunk(bytes32 root, bytes32 receiptsRoot);

    /// @notice The batch still stands.
    error Settlement_StillPending(bytes32 headerHash);

    /// @notice `account` has no coins to withdraw.
    error Settlement_NoCoins(address account);

    /// @notice `account` did not take its coins.
    error Settlement_CoinsRefused(address account);

    /// @notice Demands the receipts of a chunk, for `demandPrice()` wei of the chain's coin; what is paid beyond it can be
    /// withdrawn again. By anyone, until the challenge window ends, once per chunk.
    /// @param chunk Index of the aligned chunk.
    function demandChunk(BatchHeader calldata header, uint256 chunk) external payable;

    /// @notice Answers a demand. By anyone; the operator's owner gets the payment.
    /// @param receipts All receipts of the chunk.
    /// @param path The chunk's path to the receipts root.
    function revealChunk(
        BatchHeader calldata header,
        uint256 chunk,
        RevealedReceipt[] calldata receipts,
        bytes32[] calldata path
    ) external;

    /// @notice Shows that a demand was not answered in time: the batch falls, and the demander gets its payment and half
    /// of the bond. By anyone.
    function proveWithheld(BatchHeader calldata header, uint256 chunk) external;

    /// @notice Gives the payment of an open demand back when its batch is gone. By anyone.
    function refundDemand(bytes32 headerHash, uint256 chunk) external;

    /// @notice Sends `account` its coins. By anyone.
    function withdrawCoins(address account) external returns (uint256 amount);

    /// @notice A demand.
    function demandOf(bytes32 headerHash, uint256 chunk) external view returns (Demand memory);

    /// @notice What a demand costs in this block, in wei of the chain's coin.
    function demandPrice() external view returns (uint256);

    /// @notice What an account may withdraw, in wei of the chain's coin.
    function coinsOf(address account) external view returns (uint256);
}
