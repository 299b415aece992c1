// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IOperatorRegistry} from "../payments/IOperatorRegistry.sol";
import {ISettlementPools} from "../payments/ISettlementPools.sol";
import {IBatchChain} from "./IBatchChain.sol";
import {IProtocolParameters} from "./IProtocolParameters.sol";
import {Windows, WindowsLib} from "./Windows.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {Hashes} from "./libraries/Hashes.sol";
import {BatchHeader} from "./types/BatchHeader.sol";

/// @title BatchChain
/// @notice What {IBatchChain} describes, and how a batch falls.
abstract contract BatchChain is ISettlementPools, IBatchChain {
    uint256 private constant RING = 64;
    uint256 private constant MAX_PENDING = 32;

    IOperatorRegistry public immutable OPERATORS;
    IProtocolParameters public immutable PARAMETERS;

    /// @notice W, in seconds.
    uint40 public immutable CHALLENGE;
    /// @notice C, in seconds.
    uint40 public immutable CHECK;
    /// @notice How old a batch's view of the registries may be, in seconds.
    uint40 public immutable LAG;

    /// @dev One slot: tip, finalHeight, sequence, finalisedAt.
    mapping(uint32 operator => Chain) private _chains;

    /// @dev Two slots a batch, by height modulo 64: the hash; all else. Slots are written again and again, so that a batch
    /// takes no new storage. At most 32 batches are pending, so the newest final one is never overwritten.
    mapping(uint32 operator => PostedBatch[RING]) private _rings;

    constructor(IOperatorRegistry operators, IProtocolParameters parameters, Windows memory windows) {
        WindowsLib.validate(windows);
        OPERATORS = operators;
        PARAMETERS = parameters;
        CHALLENGE = windows.challenge;
        CHECK = windows.check;
        LAG = WindowsLib.lag(windows);
    }

    /// @inheritdoc IBatchChain
    function submitBatch(BatchHeader calldata header) external {
        uint32 operator = header.operator;
        Chain memory chain = _chains[operator];
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
        bytes32 headerHash = Hashes.headerOf(header);
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

    /// @inheritdoc IBatchChain
    function finalize(uint32 operator, uint64 height) external {
        Chain memory chain = _chains[operator];
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

    /// @inheritdoc ISettlementPools
    function finalHeaderHashOf(uint32 operator) public view returns (bytes32) {
        // Height 0 shares its place with 64, which is not posted while nothing is final.
        return _rings[operator][_chains[operator].finalHeight % RING].headerHash;
    }

    /// @inheritdoc IBatchChain
    function chainOf(uint32 operator) public view returns (Chain memory) {
        return _chains[operator];
    }

    /// @inheritdoc IBatchChain
    function batchAt(uint32 operator, uint64 height) external view returns (PostedBatch memory) {
        return _rings[operator][height % RING];
    }

    /// @inheritdoc IBatchChain
    function isPending(uint32 operator, uint64 height, bytes32 headerHash) public view returns (bool) {
        Chain memory chain = _chains[operator];
        return
            height > chain.finalHeight &&
            height <= chain.tip &&
            _rings[operator][height % RING].headerHash == headerHash;
    }

    /// @dev The bond that the pending batches need; nothing when none is pending.
    function _atStake(uint32 operator) internal view returns (uint256 required) {
        Chain memory chain = _chains[operator];
        if (chain.tip == chain.finalHeight) return 0;
        PostedBatch[RING] storage ring = _rings[operator];
        required = ring[chain.tip % RING].totalSpent - ring[chain.finalHeight % RING].totalSpent;
        uint256 minimum = PARAMETERS.minimumBond();
        if (required < minimum) required = minimum;
    }

    /// @dev The pending batch that has this header.
    function _pending(
        BatchHeader calldata header
    ) internal view returns (bytes32 headerHash, PostedBatch storage batch) {
        headerHash = Hashes.headerOf(header);
        if (!isPending(header.operator, header.height, headerHash)) {
            revert Settlement_NotPending(header.operator, header.height, headerHash);
        }
        batch = _rings[header.operator][header.height % RING];
    }

    /// @dev Those after the batch are gone as well: their heights are above the tip, and their slots will be overwritten.
    function _fall(BatchHeader calldata header, bytes32 headerHash) internal {
        Chain storage chain = _chains[header.operator];
        emit BatchFell(header.operator, header.height, headerHash, chain.tip);
        chain.tip = header.height - 1;
    }

    function _checkFinal(BatchHeader calldata header) internal view {
        bytes32 headerHash = Hashes.headerOf(header);
        bytes32 expected = finalHeaderHashOf(header.operator);
        if (headerHash != expected) revert Settlement_NotFinalHeader(headerHash, expected);
    }

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
}
