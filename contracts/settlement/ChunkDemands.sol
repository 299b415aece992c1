// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {BatchChain} from "./BatchChain.sol";
import {IChunkDemands} from "./IChunkDemands.sol";
import {Windows} from "./Windows.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {Hashes} from "./libraries/Hashes.sol";
import {ReceiptCodec} from "./libraries/ReceiptCodec.sol";
import {BatchHeader} from "./types/BatchHeader.sol";
import {RevealedReceipt} from "./types/RevealedReceipt.sol";

/// @title ChunkDemands
/// @notice What {IChunkDemands} describes.
abstract contract ChunkDemands is BatchChain, ReentrancyGuardTransient, IChunkDemands {
    /// @dev What a reveal of 32 receipts costs at most; demands pay twice as much, for the base fee may rise.
    uint256 private constant REVEAL_GAS = 700_000;

    /// @notice R, in seconds.
    uint40 public immutable REVEAL;

    /// @dev Two slots: demander and payment; all else.
    mapping(bytes32 headerHash => mapping(uint256 chunk => Demand)) private _demands;

    /// @inheritdoc IChunkDemands
    mapping(address account => uint256) public coinsOf;

    constructor(Windows memory windows) {
        REVEAL = windows.reveal;
    }

    /// @inheritdoc IChunkDemands
    function demandChunk(BatchHeader calldata header, uint256 chunk) external payable nonReentrant {
        // Check: the batch is pending, has the chunk, and can still be asked for it.
        (bytes32 headerHash, PostedBatch storage batch) = _pending(header);
        uint256 chunks = BatchTree.chunks(header.count);
        if (chunk >= chunks) revert Settlement_ChunkOutOfRange(chunk, chunks);
        uint256 until = uint256(batch.submittedAt) + CHALLENGE;
        if (block.timestamp > until) revert Settlement_DemandTooLate(until);
        if (_demands[headerHash][chunk].status != DemandStatus.None) {
            revert Settlement_AlreadyDemanded(headerHash, chunk);
        }
        // Check: the answer is paid for.
        uint256 price = demandPrice();
        if (msg.value < price) revert Settlement_PaymentTooSmall(msg.value, price);
        if (price > type(uint96).max) revert Settlement_PaymentTooLarge(price);

        // Effect: the demand is open.
        uint40 deadline = uint40(block.timestamp) + REVEAL;
        _demands[headerHash][chunk] = Demand({
            demander: msg.sender,
            payment: uint96(price),
            operator: header.operator,
            height: header.height,
            deadline: deadline,
            status: DemandStatus.Open
        });
        batch.demandDeadline = deadline;
        batch.openDemands += 1;
        emit ChunkDemanded(header.operator, header.height, headerHash, chunk, msg.sender, price, deadline);
        _creditCoins(msg.sender, msg.value - price);
    }

    /// @inheritdoc IChunkDemands
    function revealChunk(
        BatchHeader calldata header,
        uint256 chunk,
        RevealedReceipt[] calldata receipts,
        bytes32[] calldata path
    ) external nonReentrant {
        // Check: an answer is due.
        (bytes32 headerHash, PostedBatch storage batch) = _pending(header);
        Demand storage demand = _openDemand(headerHash, chunk);
        if (block.timestamp > demand.deadline) revert Settlement_RevealTooLate(demand.deadline);
        // Check: these are the chunk's receipts.
        bytes32 root = _chunkRoot(header.count, chunk, receipts, path);
        if (root != header.receiptsRoot) revert Settlement_WrongChunk(root, header.receiptsRoot);

        // Effect: the demand is answered, and the operator has its payment.
        demand.status = DemandStatus.Revealed;
        batch.openDemands -= 1;
        emit ChunkRevealed(header.operator, header.height, headerHash, chunk, receipts, path);
        _creditCoins(OPERATORS.ownerOf(header.operator), demand.payment);
    }

    /// @inheritdoc IChunkDemands
    function proveWithheld(BatchHeader calldata header, uint256 chunk) external nonReentrant {
        // Check: an answer was due.
        (bytes32 headerHash, ) = _pending(header);
        Demand storage demand = _openDemand(headerHash, chunk);
        if (block.timestamp <= demand.deadline) revert Settlement_RevealNotDue(demand.deadline);

        // Effect: the demander gets its payment back, and the batch falls.
        address demander = demand.demander;
        demand.status = DemandStatus.Withheld;
        emit ChunkWithheld(header.operator, header.height, headerHash, chunk, demander);
        _creditCoins(demander, demand.payment);
        _fall(header, headerHash);

        // Interaction: the bond is slashed.
        OPERATORS.slash(header.operator, demander);
    }

    /// @inheritdoc IChunkDemands
    function refundDemand(bytes32 headerHash, uint256 chunk) external nonReentrant {
        // Check: the demand is open and its batch is gone. A batch with an open demand does not become final, and a hash
        // that fell never comes back, for its sequence is used.
        Demand storage demand = _openDemand(headerHash, chunk);
        if (isPending(demand.operator, demand.height, headerHash)) revert Settlement_StillPending(headerHash);

        // Effect: the demander gets its payment back.
        demand.status = DemandStatus.Refunded;
        emit DemandRefunded(headerHash, chunk, demand.demander, demand.payment);
        _creditCoins(demand.demander, demand.payment);
    }

    /// @inheritdoc IChunkDemands
    function withdrawCoins(address account) external nonReentrant returns (uint256 amount) {
        // Check: there is something.
        amount = coinsOf[account];
        if (amount == 0) revert Settlement_NoCoins(account);
        // Effect: it is gone.
        coinsOf[account] = 0;
        emit CoinsWithdrawn(account, amount);
        // Interaction: the account gets it.
        (bool sent, ) = account.call{value: amount}("");
        if (!sent) revert Settlement_CoinsRefused(account);
    }

    /// @inheritdoc IChunkDemands
    function demandOf(bytes32 headerHash, uint256 chunk) external view returns (Demand memory) {
        return _demands[headerHash][chunk];
    }

    /// @inheritdoc IChunkDemands
    function demandPrice() public view returns (uint256) {
        return 2 * REVEAL_GAS * block.basefee + PARAMETERS.demandFee();
    }

    function _openDemand(bytes32 headerHash, uint256 chunk) private view returns (Demand storage demand) {
        demand = _demands[headerHash][chunk];
        if (demand.status != DemandStatus.Open) revert Settlement_NoOpenDemand(headerHash, chunk);
    }

    /// @dev The receipts root that the chunk's receipts lead to. The chunk exists, for it was demanded.
    function _chunkRoot(
        uint32 count,
        uint256 chunk,
        RevealedReceipt[] calldata receipts,
        bytes32[] calldata path
    ) private pure returns (bytes32) {
        uint256 levels = BatchTree.chunkLevels(count);
        uint256 first = chunk << levels;
        uint256 width = 1 << levels;
        uint256 expected = count - first < width ? count - first : width;
        if (receipts.length != expected) revert Settlement_ChunkSize(receipts.length, expected);
        bytes32[] memory leaves = new bytes32[](expected);
        for (uint256 i; i < expected; ++i) {
            RevealedReceipt calldata receipt = receipts[i];
            if (receipt.body.length > ReceiptCodec.MAX_LENGTH) {
                revert Settlement_BodyTooLong(i, receipt.body.length);
            }
            leaves[i] = Hashes.receiptLeaf(
                uint32(first + i),
                receipt.length,
                receipt.stateRoot,
                keccak256(receipt.body)
            );
        }
        return BatchTree.climb(BatchTree.subtree(leaves, levels), chunk, BatchTree.depth(count) - levels, path);
    }

    function _creditCoins(address account, uint256 amount) private {
        if (amount == 0) return;
        coinsOf[account] += amount;
        emit CoinsCredited(account, amount);
    }
}
