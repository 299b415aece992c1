// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ISettlementPools} from "../payments/ISettlementPools.sol";
import {BatchHeader} from "./types/BatchHeader.sol";
import {EarnerClaim} from "./types/EarnerClaim.sol";
import {FraudProof} from "./types/FraudProof.sol";
import {RevealedReceipt} from "./types/RevealedReceipt.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title IAttributionSettlement
/// @notice Operators post batches of receipts; a wrong one is proven in one transaction and falls with the operator's
/// bond; what stands becomes final, and contributors are paid against it. The rules are those of protocol.md §9.
interface IAttributionSettlement is ISettlementPools {
    /// @notice An operator's chain of batches.
    /// @param tip Height of the newest batch that stands; 0 before the first.
    /// @param finalHeight Height of the newest final batch; 0 before the first.
    /// @param sequence Highest sequence used.
    /// @param finalisedAt When a batch last became final.
    struct BatchChain {
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

    /// @notice What an operator's payers paid in, and what was paid out of it, in wei of OPEN.
    /// @param balance What the pool holds.
    /// @param contributorsPaid Paid to contributors in all.
    /// @param treasuryPaid Paid to the treasury in all.
    /// @param operatorPaid Paid to the operator in all, advances not counted.
    /// @param advanced What the bond paid in and did not get back yet.
    struct Pool {
        uint128 balance;
        uint128 contributorsPaid;
        uint128 treasuryPaid;
        uint128 operatorPaid;
        uint128 advanced;
    }

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

    /// @notice A batch was posted.
    event BatchSubmitted(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        BatchHeader header
    );

    /// @notice A batch became final.
    event BatchFinalized(uint32 indexed operator, uint64 indexed height, bytes32 indexed headerHash);

    /// @notice The receipt at `index` of a batch was proven wrong.
    event FraudProven(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        uint32 index,
        Verdict verdict,
        address prover
    );

    /// @notice The batch at `height` fell, and with it all up to `formerTip`; the tip is `height - 1` now.
    event BatchFell(uint32 indexed operator, uint64 indexed height, bytes32 indexed headerHash, uint64 formerTip);

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

    /// @notice `amount` of OPEN was added to an operator's pool.
    event PoolCredited(uint32 indexed operator, uint256 amount);

    /// @notice The bond paid `amount` of OPEN into its operator's pool.
    event BondAdvanced(uint32 indexed operator, uint256 amount);

    /// @notice The payees of `id` were paid `amount` of OPEN; `claimed` is what was claimed in all.
    event EarningsClaimed(uint32 indexed operator, uint32 indexed id, uint256 amount, uint256 claimed);

    /// @notice The operator's owner was paid `amount` of OPEN, and got `returned` of what the bond had advanced.
    event OperatorPaid(uint32 indexed operator, address indexed account, uint256 amount, uint256 returned);

    /// @notice The treasury was paid `amount` of OPEN.
    event TreasuryPaid(uint32 indexed operator, address indexed account, uint256 amount);

    /// @notice A transfer of `amount` of OPEN to `account` failed; it is kept for it.
    event PayoutDeferred(address indexed account, uint256 amount);

    /// @notice `account` got `amount` of OPEN that was kept for it.
    event PayoutRetried(address indexed account, uint256 amount);

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

    /// @notice The receipt keeps all rules.
    error Settlement_NotFraud();

    /// @notice The batch has no such chunk.
    error Settlement_ChunkOutOfRange(uint256 chunk, uint256 chunks);

    /// @notice Chunks of this batch could be demanded until `until`.
    error Settlement_DemandTooLate(uint256 until);

    /// @notice The chunk was demanded before.
    error Settlement_AlreadyDemanded(bytes32 headerHash, uint256 chunk);

    /// @notice The demand costs more.
    error Settlement_PaymentTooSmall(uint256 payment, uint256 required);

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

    /// @notice Only the channels may do this.
    error Settlement_NotChannels(address caller);

    /// @notice An amount does not fit.
    error Settlement_AmountTooLarge(uint256 amount);

    /// @notice The header is not that of the operator's newest final batch.
    error Settlement_NotFinalHeader(bytes32 headerHash, bytes32 finalHeaderHash);

    /// @notice The lists of a claim differ in length.
    error Settlement_ClaimLength(uint256 ids, uint256 earned, uint256 payees);

    /// @notice The earnings are not those of the final state.
    error Settlement_WrongEarnings(bytes32 root, bytes32 earnersRoot);

    /// @notice No registry knows `id`.
    error Settlement_UnknownEarner(uint32 id);

    /// @notice These are not the payees in force.
    error Settlement_WrongPayees(uint32 id, bytes32 given, bytes32 expected);

    /// @notice Nothing is kept for `account`.
    error Settlement_NothingKept(address account);

    /// @notice The transfer to `account` failed.
    error Settlement_TransferFailed(address account);

    /// @notice Posts the next batch. By the operator's signer.
    function submitBatch(BatchHeader calldata header) external;

    /// @notice Makes all pending batches up to `height` final. By anyone, once their windows have passed.
    function finalize(uint32 operator, uint64 height) external;

    /// @notice Proves one receipt of a pending batch wrong: the batch falls, and the caller gets half of the bond.
    function proveFraud(FraudProof calldata proof) external returns (Verdict verdict);

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

    /// @notice Pays earners what they have earned and not claimed, straight to their payees. When the pool is short, it
    /// pays in the order of the ids what it can; from K after the last finalisation the bond pays the rest. By anyone.
    function claim(EarnerClaim calldata request) external returns (uint256 paid);

    /// @notice Pays the operator's owner from what the pool holds beyond what contributors and the treasury are owed, and
    /// gives back what the bond advanced. By anyone.
    function claimOperator(BatchHeader calldata header) external returns (uint256 paid);

    /// @notice Pays the treasury from what the pool holds beyond what contributors are owed. By anyone.
    function claimTreasury(BatchHeader calldata header) external returns (uint256 paid);

    /// @notice Tries again to send `account` what is kept for it. By anyone.
    function retryPayout(address account) external returns (uint256 amount);

    /// @notice How an operator's chain of batches stands.
    function chainOf(uint32 operator) external view returns (BatchChain memory);

    /// @notice The batch last posted at a height; the ring keeps 64 heights. Zeros when there is none.
    function batchAt(uint32 operator, uint64 height) external view returns (PostedBatch memory);

    /// @notice Whether a batch is posted, stands and is not final.
    function isPending(uint32 operator, uint64 height, bytes32 headerHash) external view returns (bool);

    /// @notice An operator's pool.
    function poolOf(uint32 operator) external view returns (Pool memory);

    /// @notice What was claimed for `id` of an operator's payments in all, in wei of OPEN.
    function claimedOf(uint32 operator, uint32 id) external view returns (uint128);

    /// @notice A demand.
    function demandOf(bytes32 headerHash, uint256 chunk) external view returns (Demand memory);

    /// @notice What a demand costs in this block, in wei of the chain's coin.
    function demandPrice() external view returns (uint256);

    /// @notice What is kept for an account because a transfer failed, in wei of OPEN.
    function owed(address account) external view returns (uint256);

    /// @notice What an account may withdraw, in wei of the chain's coin.
    function coinsOf(address account) external view returns (uint256);
}
