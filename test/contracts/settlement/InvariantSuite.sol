// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IBatchChain} from "../../../contracts/settlement/IBatchChain.sol";
import {IChunkDemands} from "../../../contracts/settlement/IChunkDemands.sol";
import {IEarnerPools} from "../../../contracts/settlement/IEarnerPools.sol";
import {IReceiptVerifier} from "../../../contracts/settlement/IReceiptVerifier.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {EarnerClaim} from "../../../contracts/settlement/types/EarnerClaim.sol";
import {FraudProof} from "../../../contracts/settlement/types/FraudProof.sol";
import {RevealedReceipt} from "../../../contracts/settlement/types/RevealedReceipt.sol";
import {State} from "../../../contracts/settlement/types/State.sol";
import {ReferenceHeader} from "./ReferenceHeader.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

/// @notice Invariants over any order of posting, lying, proving, demanding, revealing, finalising, collecting, claiming.
abstract contract InvariantSuite is SettlementFixture {
    /// @dev A model of one batch: its header, what its two earners have earned, and whether it is a lie.
    struct Told {
        BatchHeader header;
        uint128[2] earned;
        bool lie;
    }

    /// @dev The model's chain, by height less one; and what it knows of demands and of money.
    Told[] private _told;
    uint64 private _finalHeight;
    uint64 private _sequence;
    bytes32[] private _demanded;
    uint256 private _collected;
    uint256 private _returned;
    uint256 private _drawn;
    /// @dev What the runner calls; and what it was answered when an action failed that must not.
    address private _handler;
    bytes private _failure;

    bytes private constant _BODY = "the only body";

    function setUp() public virtual override {
        super.setUp();
        _handler = newHandler();
    }

    /// @dev The contract whose functions call the actions below; the runner knows it only from a test's own file.
    function newHandler() internal virtual returns (address);

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = _handler;
    }

    modifier byHandler() {
        if (msg.sender == _handler) _;
    }

    /* ---------------------------------------------------- invariants ---------------------------------------------------- */

    function invariant_NoActionFailsThatMayBeTaken() public view {
        assertEq(_failure, "", "failure");
    }

    function invariant_TheTokensHeldAreThoseOfThePool() public view {
        assertEq(token.balanceOf(address(settlement)), settlement.poolOf(OPERATOR).balance, "solvency");
    }

    function invariant_WhatCameInIsWhatIsHeldOrPaid() public view {
        IEarnerPools.Pool memory pool = settlement.poolOf(OPERATOR);
        uint256 paid = uint256(pool.contributorsPaid) + pool.treasuryPaid + pool.operatorPaid + _returned;
        assertEq(_collected + _drawn, pool.balance + paid, "conservation");
        assertEq(_drawn, pool.advanced + _returned, "advances");
    }

    function invariant_NothingIsPaidThatIsNotFinallyEarned() public view {
        IEarnerPools.Pool memory pool = settlement.poolOf(OPERATOR);
        uint256 claimed;
        for (uint32 i; i < 2; ++i) {
            uint256 ofOne = settlement.claimedOf(OPERATOR, CONTRIBUTION + i);
            assertTrue(_finalHeight != 0 ? ofOne <= _told[_finalHeight - 1].earned[i] : ofOne == 0, "claimed");
            claimed += ofOne;
        }
        assertEq(claimed, pool.contributorsPaid, "contributors paid");
        if (_finalHeight == 0) return;
        State memory state = _told[_finalHeight - 1].header.state;
        assertTrue(pool.treasuryPaid <= state.treasuryEarned, "treasury");
        assertTrue(pool.operatorPaid <= state.operatorEarned, "operator");
    }

    function invariant_AFallLeavesEverythingBelowAsItWas() public view {
        IBatchChain.Chain memory chain = settlement.chainOf(OPERATOR);
        assertEq(chain.tip, _told.length, "tip");
        assertEq(chain.finalHeight, _finalHeight, "final");
        assertEq(chain.sequence, _sequence, "sequence");
        uint256 oldest = _finalHeight == 0 ? 1 : _finalHeight;
        for (uint256 height = oldest; height <= chain.tip; ++height) {
            bytes32 headerHash = ReferenceHeader.hash(_told[height - 1].header);
            assertEq(settlement.batchAt(OPERATOR, uint64(height)).headerHash, headerHash, "header");
            assertTrue(
                settlement.isPending(OPERATOR, uint64(height), headerHash) == (height > _finalHeight),
                "pending"
            );
        }
    }

    function invariant_TheCoinsHeldAreThoseOfDemandsAndAccounts() public view {
        uint256 held = settlement.coinsOf(WATCHER) + settlement.coinsOf(OPERATOR_OWNER);
        for (uint256 i; i < _demanded.length; ++i) {
            IChunkDemands.Demand memory demand_ = settlement.demandOf(_demanded[i], 0);
            if (demand_.status == IChunkDemands.DemandStatus.Open) held += demand_.payment;
        }
        assertEq(address(settlement).balance, held, "coins");
    }

    /* ------------------------------------------------------ actions ------------------------------------------------------ */

    function recordFailure(bytes calldata reason) external byHandler {
        _failure = reason;
    }

    function post(uint96[4] calldata amounts, bool lie) external byHandler {
        if (_told.length - _finalHeight == 32) return;
        if (operators.bondOf(OPERATOR) < BOND) {
            uint256 missing = BOND - operators.bondOf(OPERATOR);
            token.approve(address(operators), missing);
            operators.depositBond(OPERATOR, missing);
        }
        Told memory parent;
        if (_told.length != 0) parent = _told[_told.length - 1];
        Told storage told = _told.push();
        told.lie = lie;
        State memory state = parent.header.state;
        uint128[4] memory part;
        for (uint256 i; i < 4; ++i) {
            part[i] = amounts[i] % 1 ether;
            state.totalSpent += part[i];
        }
        state.treasuryEarned += part[0];
        state.operatorEarned += part[1];
        (told.earned[0], told.earned[1]) = (parent.earned[0] + part[2], parent.earned[1] + part[3]);
        (uint32[] memory ids, uint128[] memory earned) = _earners(told.earned, 0);
        state.earnersRoot = earnersRoot(ids, earned);
        BatchHeader memory header = nextHeader(state);
        header.receiptsRoot = lie ? bytes32(0) : Hashes.receiptLeaf(0, 13, keccak256("state"), keccak256(_BODY));
        told.header = header;
        submit(header);
        _sequence = header.sequence;
    }

    function finalizeWhatIsRipe(uint8 wait) external byHandler {
        pass(uint256(wait) * 10 minutes);
        uint64 ripe = _finalHeight;
        while (ripe < _told.length) {
            IBatchChain.PostedBatch memory batch = settlement.batchAt(OPERATOR, ripe + 1);
            uint256 readyAt = uint256(batch.submittedAt) + windows().challenge;
            uint256 checked = uint256(batch.demandDeadline) + windows().check;
            if (batch.openDemands != 0 || clock <= readyAt || clock <= checked) break;
            ++ripe;
        }
        if (ripe == _finalHeight) return;
        settlement.finalize(OPERATOR, ripe);
        _finalHeight = ripe;
    }

    /// @dev Proves a lie, or fails to prove an honest batch.
    function prove(uint8 which) external byHandler {
        (bool found, uint256 place) = _pick(which);
        if (!found) return;
        FraudProof memory proof;
        proof.header = _told[place].header;
        proof.vacant = true;
        if (_told[place].lie) {
            settlement.proveFraud(proof);
            _drop(place);
        } else {
            vm.expectPartialRevert(IReceiptVerifier.Verifier_WitnessMismatch.selector);
            settlement.proveFraud(proof);
        }
    }

    function demand(uint8 which) external byHandler {
        (bool found, uint256 place) = _pick(which);
        if (!found) return;
        BatchHeader memory header = _told[place].header;
        bytes32 headerHash = ReferenceHeader.hash(header);
        if (clock > settlement.batchAt(OPERATOR, header.height).submittedAt + windows().challenge) return;
        if (settlement.demandOf(headerHash, 0).status != IChunkDemands.DemandStatus.None) return;
        uint256 price = settlement.demandPrice();
        vm.deal(WATCHER, price + which);
        vm.prank(WATCHER);
        settlement.demandChunk{value: price + which}(header, 0);
        _demanded.push(headerHash);
    }

    /// @dev Answers a demand when that can be done, or shows that it was not.
    function answer(uint8 which) external byHandler {
        (bool found, uint256 place) = _pick(which);
        if (!found) return;
        BatchHeader memory header = _told[place].header;
        IChunkDemands.Demand memory open = settlement.demandOf(ReferenceHeader.hash(header), 0);
        if (open.status != IChunkDemands.DemandStatus.Open) return;
        if (clock > open.deadline) {
            settlement.proveWithheld(header, 0);
            _drop(place);
        } else if (!_told[place].lie) {
            RevealedReceipt[] memory receipts = new RevealedReceipt[](1);
            receipts[0] = RevealedReceipt(13, keccak256("state"), _BODY);
            settlement.revealChunk(header, 0, receipts, new bytes32[](0));
        }
    }

    function refund(uint8 which) external byHandler {
        if (which % 2 == 0 && settlement.coinsOf(WATCHER) != 0) settlement.withdrawCoins(WATCHER);
        if (_demanded.length == 0) return;
        bytes32 headerHash = _demanded[which % _demanded.length];
        IChunkDemands.Demand memory open = settlement.demandOf(headerHash, 0);
        bool gone = !settlement.isPending(OPERATOR, open.height, headerHash);
        if (open.status == IChunkDemands.DemandStatus.Open && gone) settlement.refundDemand(headerHash, 0);
    }

    function collect(uint96 amount) external byHandler {
        amount %= 1 ether;
        fundPool(OPERATOR, amount);
        _collected += amount;
    }

    /// @dev Claims for the first earner, the second, or both.
    function claim(uint8 which) external byHandler {
        if (_finalHeight == 0) return;
        Told storage told = _told[_finalHeight - 1];
        EarnerClaim memory request = _claimFor(told, which % 3);
        uint256 bond = operators.bondOf(OPERATOR);
        settlement.claim(request);
        _drawn += bond - operators.bondOf(OPERATOR);
    }

    function claimOthers(bool operatorFirst) external byHandler {
        if (_finalHeight == 0) return;
        BatchHeader memory header = _told[_finalHeight - 1].header;
        if (!operatorFirst) settlement.claimTreasury(header);
        uint256 advanced = settlement.poolOf(OPERATOR).advanced;
        settlement.claimOperator(header);
        _returned += advanced - settlement.poolOf(OPERATOR).advanced;
        if (operatorFirst) settlement.claimTreasury(header);
    }

    /* ------------------------------------------------------ internals ----------------------------------------------------- */

    function _pick(uint8 which) private view returns (bool found, uint256 place) {
        uint256 pending = _told.length - _finalHeight;
        if (pending == 0) return (false, 0);
        return (true, _finalHeight + (which % pending));
    }

    function _drop(uint256 place) private {
        while (_told.length > place) _told.pop();
    }

    /// @dev Those of the two that have earned something and are asked for; 0 asks for both.
    function _earners(
        uint128[2] memory earnings,
        uint256 only
    ) private pure returns (uint32[] memory ids, uint128[] memory earned) {
        ids = new uint32[](2);
        earned = new uint128[](2);
        uint256 count;
        for (uint32 i; i < 2; ++i) {
            if (only != 0 && only != i + 1) continue;
            (ids[count], earned[count++]) = (CONTRIBUTION + i, earnings[i]);
        }
        assembly ("memory-safe") {
            mstore(ids, count)
            mstore(earned, count)
        }
    }

    function _claimFor(Told storage told, uint256 only) private view returns (EarnerClaim memory request) {
        (uint32[] memory ids, uint128[] memory earned) = _earners(told.earned, 0);
        (uint32[] memory subset, uint128[] memory claimed) = _earners(told.earned, only);
        return claimOf(told.header, ids, earned, subset, claimed);
    }
}
