// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IOperatorRegistry} from "../payments/IOperatorRegistry.sol";
import {ISettlementPools} from "../payments/ISettlementPools.sol";
import {IContribution721} from "../registries/IContribution721.sol";
import {IIdAllocator} from "../registries/IIdAllocator.sol";
import {Payee, PayeesLib} from "../registries/PayeesLib.sol";
import {IAttributionSettlement} from "./IAttributionSettlement.sol";
import {IProtocolParameters} from "./IProtocolParameters.sol";
import {IReceiptVerifier} from "./IReceiptVerifier.sol";
import {Windows, WindowsLib} from "./Windows.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {Hashes} from "./libraries/Hashes.sol";
import {ReceiptCodec} from "./libraries/ReceiptCodec.sol";
import {SparseMultiproof} from "./libraries/SparseMultiproof.sol";
import {BatchHeader} from "./types/BatchHeader.sol";
import {EarnerClaim} from "./types/EarnerClaim.sol";
import {FraudProof} from "./types/FraudProof.sol";
import {RevealedReceipt} from "./types/RevealedReceipt.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title AttributionSettlement
contract AttributionSettlement is IAttributionSettlement, ReentrancyGuardTransient {
    uint256 private constant RING = 64;
    uint256 private constant MAX_PENDING = 32;

    /// @dev What a reveal of 32 receipts costs at most; demands pay twice as much, for the base fee may rise.
    uint256 private constant REVEAL_GAS = 700_000;

    IERC20 public immutable TOKEN;
    IIdAllocator public immutable ALLOCATOR;
    IOperatorRegistry public immutable OPERATORS;
    address public immutable CHANNELS;
    IProtocolParameters public immutable PARAMETERS;
    IReceiptVerifier public immutable VERIFIER;

    /// @notice W, in seconds.
    uint40 public immutable CHALLENGE;
    /// @notice R, in seconds.
    uint40 public immutable REVEAL;
    /// @notice C, in seconds.
    uint40 public immutable CHECK;
    /// @notice K, in seconds.
    uint40 public immutable COLLECT;
    /// @notice How old a batch's view of the registries may be, in seconds.
    uint40 public immutable LAG;

    /// @dev One slot: tip, finalHeight, sequence, finalisedAt.
    mapping(uint32 operator => BatchChain) private _chains;

    /// @dev Two slots a batch, by height modulo 64: the hash; all else. Slots are written again and again, so that a batch
    /// takes no new storage. At most 32 batches are pending, so the newest final one is never overwritten.
    mapping(uint32 operator => PostedBatch[RING]) private _rings;

    /// @dev Three slots: balance and contributorsPaid; treasuryPaid and operatorPaid; advanced.
    mapping(uint32 operator => Pool) private _pools;

    /// @dev Wei of OPEN claimed for ids 2k (low half) and 2k + 1 (high half) in one slot, for ids are dense.
    mapping(uint32 operator => mapping(uint256 pair => uint256)) private _claimed;

    /// @dev Two slots: demander and payment; all else.
    mapping(bytes32 headerHash => mapping(uint256 chunk => Demand)) private _demands;

    /// @inheritdoc IAttributionSettlement
    mapping(address account => uint256) public owed;

    /// @inheritdoc IAttributionSettlement
    mapping(address account => uint256) public coinsOf;

    constructor(
        IERC20 token,
        IIdAllocator allocator,
        IOperatorRegistry operators,
        address channels,
        IProtocolParameters parameters,
        IReceiptVerifier verifier,
        Windows memory windows
    ) {
        WindowsLib.validate(windows);
        TOKEN = token;
        ALLOCATOR = allocator;
        OPERATORS = operators;
        CHANNELS = channels;
        PARAMETERS = parameters;
        VERIFIER = verifier;
        CHALLENGE = windows.challenge;
        REVEAL = windows.reveal;
        CHECK = windows.check;
        COLLECT = windows.collect;
        LAG = WindowsLib.lag(windows);
    }

    /* ------------------------------------------------------- batches ------------------------------------------------------ */

    /// @inheritdoc IAttributionSettlement
    function submitBatch(BatchHeader calldata header) external {
        uint32 operator = header.operator;
        BatchChain memory chain = _chains[operator];
        PostedBatch[RING] storage ring = _rings[operator];
        PostedBatch memory parent = ring[chain.tip % RING];

        // Check: the caller posts for the operator.
        if (!OPERATORS.isSigner(operator, msg.sender)) revert Settlement_NotSigner(operator, msg.sender);
        // Check: the batch follows the tip. Below height 1 the ring is empty, so that the parent is all zero.
        if (header.height != chain.tip + 1) revert Settlement_WrongHeight(header.height, chain.tip + 1);
        if (header.parentHash != parent.headerHash) {
            revert Settlement_WrongParent(header.parentHash, parent.headerHash);
        }
        if (header.sequence <= chain.sequence) revert Settlement_SequenceUsed(header.sequence, chain.sequence);
        if (header.height - chain.finalHeight > MAX_PENDING) revert Settlement_TooManyPending(MAX_PENDING);
        // Check: the header's values are within bounds.
        _checkBounds(header, parent);
        // Check: the bond covers what is pending.
        uint256 required = header.state.totalSpent - ring[chain.finalHeight % RING].totalSpent;
        uint256 minimum = PARAMETERS.minimumBond();
        if (required < minimum) required = minimum;
        uint256 bond = OPERATORS.availableBondOf(operator);
        if (bond < required) revert Settlement_BondTooSmall(bond, required);

        // Effect: the batch is the tip.
        bytes32 headerHash = Hashes.header(header);
        ring[header.height % RING] = PostedBatch({
            headerHash: headerHash,
            submittedAt: uint40(block.timestamp),
            registryTime: header.registryTime,
            totalSpent: uint96(header.state.totalSpent),
            demandDeadline: 0,
            openDemands: 0
        });
        chain.tip = header.height;
        chain.sequence = header.sequence;
        _chains[operator] = chain;
        emit BatchSubmitted(operator, header.height, headerHash, header);
    }

    /// @inheritdoc IAttributionSettlement
    function finalize(uint32 operator, uint64 height) external {
        BatchChain memory chain = _chains[operator];
        // Check: there is something to finalise.
        if (height <= chain.finalHeight || height > chain.tip) {
            revert Settlement_NothingToFinalize(height, chain.finalHeight, chain.tip);
        }
        for (uint64 next = chain.finalHeight + 1; next <= height; ++next) {
            PostedBatch storage batch = _rings[operator][next % RING];
            // Check: all demands are answered, and the windows have passed.
            uint256 openDemands = batch.openDemands;
            if (openDemands != 0) revert Settlement_OpenDemands(next, openDemands);
            uint256 readyAt = uint256(batch.submittedAt) + CHALLENGE;
            uint256 demandDeadline = batch.demandDeadline;
            if (demandDeadline != 0 && demandDeadline + CHECK > readyAt) readyAt = demandDeadline + CHECK;
            if (block.timestamp <= readyAt) revert Settlement_NotRipe(next, readyAt);
            emit BatchFinalized(operator, next, batch.headerHash);
        }

        // Effect: all up to the height are final.
        chain.finalHeight = height;
        chain.finalisedAt = uint40(block.timestamp);
        _chains[operator] = chain;
    }

    /// @inheritdoc IAttributionSettlement
    function proveFraud(FraudProof calldata proof) external nonReentrant returns (Verdict verdict) {
        // Check: the batch is pending, and the receipt breaks a rule.
        (bytes32 headerHash, PostedBatch storage batch) = _pending(proof.header);
        verdict = VERIFIER.judge(proof, batch.submittedAt);
        if (verdict == Verdict.Valid) revert Settlement_NotFraud();

        // Effect: the batch falls.
        emit FraudProven(proof.header.operator, proof.header.height, headerHash, proof.index, verdict, msg.sender);
        _fall(proof.header, headerHash);

        // Interaction: the bond is slashed.
        OPERATORS.slash(proof.header.operator, msg.sender);
    }

    /* ------------------------------------------------------- demands ------------------------------------------------------ */

    /// @inheritdoc IAttributionSettlement
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
        if (price > type(uint96).max) revert Settlement_AmountTooLarge(price);

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

    /// @inheritdoc IAttributionSettlement
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

    /// @inheritdoc IAttributionSettlement
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

    /// @inheritdoc IAttributionSettlement
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

    /// @inheritdoc IAttributionSettlement
    function withdrawCoins(address account) external nonReentrant returns (uint256 amount) {
        // Check: there is something.
        amount = coinsOf[account];
        if (amount == 0) revert Settlement_NothingKept(account);
        // Effect: it is gone.
        coinsOf[account] = 0;
        emit CoinsWithdrawn(account, amount);
        // Interaction: the account gets it.
        (bool sent, ) = account.call{value: amount}("");
        if (!sent) revert Settlement_TransferFailed(account);
    }

    /* ------------------------------------------------------- payments ----------------------------------------------------- */

    /// @inheritdoc ISettlementPools
    function creditPool(uint32 operator, uint256 amount) external {
        // Check: the caller is the contract that transferred the amount.
        if (msg.sender != CHANNELS) revert Settlement_NotChannels(msg.sender);
        // Effect: the pool holds it.
        _pools[operator].balance += _narrow(amount);
        emit PoolCredited(operator, amount);
    }

    /// @inheritdoc IAttributionSettlement
    function claim(EarnerClaim calldata request) external nonReentrant returns (uint256 paid) {
        uint32 operator = request.header.operator;
        uint256 count = request.ids.length;
        // Check: the earnings are those of the final state.
        if (request.earned.length != count || request.payees.length != count) {
            revert Settlement_ClaimLength(count, request.earned.length, request.payees.length);
        }
        _checkFinal(request.header);
        _checkEarnings(request);

        // Effect: the bond pays what the pool lacks, when the time to collect has passed.
        uint256[] memory amounts = new uint256[](count);
        uint256 due;
        for (uint256 i; i < count; ++i) {
            amounts[i] = _excess(request.earned[i], claimedOf(operator, request.ids[i]));
            due += amounts[i];
        }
        Pool storage pool = _pools[operator];
        uint256 balance = pool.balance;
        if (due > balance && block.timestamp >= uint256(_chains[operator].finalisedAt) + COLLECT) {
            uint256 drawn = OPERATORS.draw(operator, due - balance);
            if (drawn != 0) {
                pool.advanced += _narrow(drawn);
                balance += drawn;
                emit BondAdvanced(operator, drawn);
            }
        }

        // Effect: what can be paid is claimed.
        for (uint256 i; i < count; ++i) {
            uint256 amount = amounts[i];
            if (amount > balance) amounts[i] = amount = balance;
            if (amount == 0) continue;
            balance -= amount;
            paid += amount;
            uint256 claimed = _addClaimed(operator, request.ids[i], amount);
            emit EarningsClaimed(operator, request.ids[i], amount, claimed);
        }
        pool.balance = _narrow(balance);
        pool.contributorsPaid += _narrow(paid);

        // Interaction: the payees are paid.
        for (uint256 i; i < count; ++i) {
            if (amounts[i] != 0) _payPayees(request.ids[i], amounts[i], request.payees[i]);
        }
    }

    /// @inheritdoc IAttributionSettlement
    function claimTreasury(BatchHeader calldata header) external nonReentrant returns (uint256 paid) {
        // Check: the header is the final one.
        _checkFinal(header);
        Pool storage pool = _pools[header.operator];
        uint256 free = _excess(pool.balance, _contributorsDue(header, pool));
        paid = _least(free, _excess(header.state.treasuryEarned, pool.treasuryPaid));
        if (paid == 0) return 0;

        // Effect: the treasury is paid.
        pool.balance -= uint128(paid);
        pool.treasuryPaid += uint128(paid);
        address treasury = PARAMETERS.treasury();
        emit TreasuryPaid(header.operator, treasury, paid);
        // Interaction: it gets it.
        _pay(treasury, paid);
    }

    /// @inheritdoc IAttributionSettlement
    function claimOperator(BatchHeader calldata header) external nonReentrant returns (uint256 paid) {
        // Check: the header is the final one.
        _checkFinal(header);
        Pool storage pool = _pools[header.operator];
        uint256 treasuryDue = _excess(header.state.treasuryEarned, pool.treasuryPaid);
        uint256 free = _excess(pool.balance, _contributorsDue(header, pool) + treasuryDue);
        uint256 earned = _least(free, _excess(header.state.operatorEarned, pool.operatorPaid));
        uint256 returned = _least(free - earned, pool.advanced);
        paid = earned + returned;
        if (paid == 0) return 0;

        // Effect: the operator is paid.
        pool.balance -= uint128(paid);
        pool.operatorPaid += uint128(earned);
        pool.advanced -= uint128(returned);
        address account = OPERATORS.ownerOf(header.operator);
        emit OperatorPaid(header.operator, account, earned, returned);
        // Interaction: its owner gets it.
        _pay(account, paid);
    }

    /// @inheritdoc IAttributionSettlement
    function retryPayout(address account) external nonReentrant returns (uint256 amount) {
        // Check: there is something.
        amount = owed[account];
        if (amount == 0) revert Settlement_NothingKept(account);
        // Effect: it is gone.
        owed[account] = 0;
        emit PayoutRetried(account, amount);
        // Interaction: the account gets it.
        if (!_transfer(account, amount)) revert Settlement_TransferFailed(account);
    }

    /* -------------------------------------------------------- views ------------------------------------------------------- */

    /// @inheritdoc ISettlementPools
    function finalHeaderHashOf(uint32 operator) public view returns (bytes32) {
        // Height 0 shares its place with 64, which is not posted while nothing is final.
        return _rings[operator][_chains[operator].finalHeight % RING].headerHash;
    }

    /// @inheritdoc IAttributionSettlement
    function chainOf(uint32 operator) external view returns (BatchChain memory) {
        return _chains[operator];
    }

    /// @inheritdoc IAttributionSettlement
    function batchAt(uint32 operator, uint64 height) external view returns (PostedBatch memory) {
        return _rings[operator][height % RING];
    }

    /// @inheritdoc IAttributionSettlement
    function isPending(uint32 operator, uint64 height, bytes32 headerHash) public view returns (bool) {
        BatchChain memory chain = _chains[operator];
        return
            height > chain.finalHeight &&
            height <= chain.tip &&
            _rings[operator][height % RING].headerHash == headerHash;
    }

    /// @inheritdoc IAttributionSettlement
    function poolOf(uint32 operator) external view returns (Pool memory) {
        return _pools[operator];
    }

    /// @inheritdoc IAttributionSettlement
    function claimedOf(uint32 operator, uint32 id) public view returns (uint128) {
        return uint128(_claimed[operator][id >> 1] >> _shift(id));
    }

    /// @inheritdoc IAttributionSettlement
    function demandOf(bytes32 headerHash, uint256 chunk) external view returns (Demand memory) {
        return _demands[headerHash][chunk];
    }

    /// @inheritdoc IAttributionSettlement
    function demandPrice() public view returns (uint256) {
        return 2 * REVEAL_GAS * block.basefee + PARAMETERS.demandFee();
    }

    /* ------------------------------------------------------ internals ----------------------------------------------------- */

    function _checkBounds(BatchHeader calldata header, PostedBatch memory parent) private view {
        uint256 earliest = block.timestamp > LAG ? block.timestamp - LAG : 0;
        if (parent.registryTime > earliest) earliest = parent.registryTime;
        if (header.registryTime < earliest || header.registryTime > block.timestamp) {
            revert Settlement_RegistryTime(header.registryTime, earliest, block.timestamp);
        }
        if (header.count == 0 || header.count > BatchTree.MAX_COUNT) {
            revert Settlement_ReceiptCount(header.count, BatchTree.MAX_COUNT);
        }
        uint128 totalSpent = header.state.totalSpent;
        if (totalSpent < parent.totalSpent || totalSpent > type(uint96).max) {
            revert Settlement_TotalSpent(totalSpent, parent.totalSpent, type(uint96).max);
        }
    }

    /// @dev The pending batch that has this header.
    function _pending(
        BatchHeader calldata header
    ) private view returns (bytes32 headerHash, PostedBatch storage batch) {
        headerHash = Hashes.header(header);
        if (!isPending(header.operator, header.height, headerHash)) {
            revert Settlement_NotPending(header.operator, header.height, headerHash);
        }
        batch = _rings[header.operator][header.height % RING];
    }

    /// @dev Those after the batch are gone as well: their heights are above the tip, and their slots will be overwritten.
    function _fall(BatchHeader calldata header, bytes32 headerHash) private {
        BatchChain storage chain = _chains[header.operator];
        emit BatchFell(header.operator, header.height, headerHash, chain.tip);
        chain.tip = header.height - 1;
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
        uint256 expected = _least(count - first, 1 << levels);
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

    function _checkFinal(BatchHeader calldata header) private view {
        bytes32 headerHash = Hashes.header(header);
        bytes32 expected = finalHeaderHashOf(header.operator);
        if (headerHash != expected) revert Settlement_NotFinalHeader(headerHash, expected);
    }

    function _checkEarnings(EarnerClaim calldata request) private pure {
        uint32[] memory ids = request.ids;
        bytes32[] memory leaves = new bytes32[](ids.length);
        for (uint256 i; i < ids.length; ++i) leaves[i] = Hashes.earnerLeaf(ids[i], request.earned[i]);
        bytes32 root = SparseMultiproof.root(ids, leaves, request.siblings, request.bitmap);
        bytes32 expected = request.header.state.earnersRoot;
        if (root != expected) revert Settlement_WrongEarnings(root, expected);
    }

    /// @dev What contributors are owed by the final state and were not paid.
    function _contributorsDue(BatchHeader calldata header, Pool storage pool) private view returns (uint256) {
        uint256 others = uint256(header.state.treasuryEarned) + header.state.operatorEarned;
        return _excess(_excess(header.state.totalSpent, others), pool.contributorsPaid);
    }

    function _addClaimed(uint32 operator, uint32 id, uint256 amount) private returns (uint256 claimed) {
        uint256 packed = _claimed[operator][id >> 1];
        claimed = uint128(packed >> _shift(id)) + amount;
        // What is claimed is at most what was earned, which fits the half; so the other half stays as it is.
        _claimed[operator][id >> 1] = packed + (amount << _shift(id));
    }

    function _payPayees(uint32 id, uint256 amount, Payee[] calldata payees) private {
        address registry = ALLOCATOR.registryOf(id);
        if (registry == address(0)) revert Settlement_UnknownEarner(id);
        bytes32 given = PayeesLib.hash(payees);
        bytes32 expected = IContribution721(registry).payeesHashOf(id);
        if (given != expected) revert Settlement_WrongPayees(id, given, expected);
        if (payees.length == 0) {
            _pay(IContribution721(registry).ownerOf(id), amount);
            return;
        }
        uint256 cumulative;
        uint256 paid;
        for (uint256 i; i < payees.length; ++i) {
            cumulative += payees[i].sharePpm;
            uint256 upTo = (amount * cumulative) / PayeesLib.TOTAL_PPM;
            if (upTo != paid) _pay(payees[i].account, upTo - paid);
            paid = upTo;
        }
    }

    /// @dev A transfer that fails must not stand in the way of others.
    function _pay(address account, uint256 amount) private {
        if (_transfer(account, amount)) return;
        owed[account] += amount;
        emit PayoutDeferred(account, amount);
    }

    function _transfer(address account, uint256 amount) private returns (bool) {
        try TOKEN.transfer(account, amount) returns (bool sent) {
            return sent;
        } catch {
            return false;
        }
    }

    function _creditCoins(address account, uint256 amount) private {
        if (amount == 0) return;
        coinsOf[account] += amount;
        emit CoinsCredited(account, amount);
    }

    function _narrow(uint256 amount) private pure returns (uint128) {
        if (amount > type(uint128).max) revert Settlement_AmountTooLarge(amount);
        return uint128(amount);
    }

    /// @dev Zero instead of a negative difference: what is final stays payable whatever it says.
    function _excess(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : 0;
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _shift(uint32 id) private pure returns (uint256) {
        return id & 1 == 0 ? 0 : 128;
    }
}
