// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IBatchChain} from "../../../contracts/settlement/IBatchChain.sol";
import {IChunkDemands} from "../../../contracts/settlement/IChunkDemands.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {RevealedReceipt} from "../../../contracts/settlement/types/RevealedReceipt.sol";
import {ReferenceHeader} from "./ReferenceHeader.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

/// @notice An account that does not take coins.
contract Refuser {
    receive() external payable {
        revert();
    }
}

abstract contract ChunkDemandsSuite is SettlementFixture {
    uint40 private constant _REVEAL = 12 hours;
    uint40 private constant _CHECK = 12 hours;
    uint40 private constant _CHALLENGE = 24 hours;

    function test_ADemandCostsTwiceTheGasOfAnAnswerAndTheFee() public {
        assertEq(settlement.demandPrice(), 2 * 700_000 * 1 gwei + 0.001 ether, "price");
        vm.fee(5 gwei);
        assertEq(settlement.demandPrice(), 2 * 700_000 * 5 gwei + 0.001 ether, "dearer block");
    }

    function test_ADemandIsKeptWithItsPriceAndTheRestCanBeWithdrawn() public {
        (BatchHeader memory header, , ) = _postChunks();
        bytes32 headerHash = ReferenceHeader.hash(header);
        uint256 price = settlement.demandPrice();
        vm.deal(WATCHER, price + 7);
        vm.prank(WATCHER);
        settlement.demandChunk{value: price + 7}(header, 1);

        IChunkDemands.Demand memory demand = settlement.demandOf(headerHash, 1);
        assertEq(demand.demander, WATCHER, "demander");
        assertEq(demand.payment, price, "payment");
        assertEq(demand.deadline, clock + _REVEAL, "deadline");
        assertTrue(demand.status == IChunkDemands.DemandStatus.Open, "status");
        assertEq(settlement.batchAt(OPERATOR, 1).openDemands, 1, "open demands");
        assertEq(settlement.withdrawCoins(WATCHER), 7, "rest");
        assertEq(WATCHER.balance, 7, "balance");
    }

    function test_AnAnswerPaysTheOperatorAndReleasesTheBatchAfterTheCheck() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        uint256 price = _demand(header, 1);
        pass(_REVEAL);
        settlement.revealChunk(header, 1, receipts, path);

        assertEq(settlement.coinsOf(OPERATOR_OWNER), price, "payment");
        assertEq(settlement.batchAt(OPERATOR, 1).openDemands, 0, "open demands");
        assertTrue(_status(header, 1) == IChunkDemands.DemandStatus.Revealed, "status");
        settlement.withdrawCoins(OPERATOR_OWNER);
        assertEq(OPERATOR_OWNER.balance, price, "withdrawn");
        pass(_CHALLENGE - _REVEAL + 1);
        settlement.finalize(OPERATOR, 1);
    }

    function test_ADemandInTheLastSecondLeavesTimeToAnswerAndToCheck() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        pass(_CHALLENGE);
        _demand(header, 1);
        pass(1);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_OpenDemands.selector, 1, 1));
        settlement.finalize(OPERATOR, 1);
        pass(_REVEAL - 1);
        settlement.revealChunk(header, 1, receipts, path);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NotRipe.selector, 1, clock + _CHECK));
        settlement.finalize(OPERATOR, 1);
        pass(_CHECK + 1);
        settlement.finalize(OPERATOR, 1);
    }

    function test_RevertWhen_TheChallengeWindowIsOver() public {
        (BatchHeader memory header, , ) = _postChunks();
        pass(_CHALLENGE + 1);
        _expectDemandRefused(
            header,
            1,
            abi.encodeWithSelector(IChunkDemands.Settlement_DemandTooLate.selector, clock - 1)
        );
    }

    function test_RevertWhen_TheChunkDoesNotExist() public {
        (BatchHeader memory header, , ) = _postChunks();
        _expectDemandRefused(
            header,
            2,
            abi.encodeWithSelector(IChunkDemands.Settlement_ChunkOutOfRange.selector, 2, 2)
        );
    }

    function test_RevertWhen_TheChunkWasDemandedBefore() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        _demand(header, 1);
        bytes memory reason = abi.encodeWithSelector(
            IChunkDemands.Settlement_AlreadyDemanded.selector,
            ReferenceHeader.hash(header),
            1
        );
        _expectDemandRefused(header, 1, reason);
        settlement.revealChunk(header, 1, receipts, path);
        _expectDemandRefused(header, 1, reason);
    }

    function test_RevertWhen_TheDemandIsNotPaidFor() public {
        (BatchHeader memory header, , ) = _postChunks();
        uint256 price = settlement.demandPrice();
        vm.deal(WATCHER, price);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_PaymentTooSmall.selector, price - 1, price));
        vm.prank(WATCHER);
        settlement.demandChunk{value: price - 1}(header, 1);
    }

    function test_RevertWhen_TheBatchIsNotPending() public {
        BatchHeader memory header = nextHeader();
        _expectDemandRefused(
            header,
            0,
            abi.encodeWithSelector(
                IBatchChain.Settlement_NotPending.selector,
                OPERATOR,
                1,
                ReferenceHeader.hash(header)
            )
        );
    }

    function test_RevertWhen_TheAnswerIsLate() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        _demand(header, 1);
        uint40 deadline = clock + _REVEAL;
        warpTo(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_RevealTooLate.selector, deadline));
        settlement.revealChunk(header, 1, receipts, path);
    }

    function test_RevertWhen_NobodyDemanded() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        bytes32 headerHash = ReferenceHeader.hash(header);
        bytes memory reason = abi.encodeWithSelector(IChunkDemands.Settlement_NoOpenDemand.selector, headerHash, 1);
        vm.expectRevert(reason);
        settlement.revealChunk(header, 1, receipts, path);
        vm.expectRevert(reason);
        settlement.proveWithheld(header, 1);
        vm.expectRevert(reason);
        settlement.refundDemand(headerHash, 1);
    }

    function test_RevertWhen_TheAnswerIsNotTheChunk() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        _demand(header, 1);
        receipts[2].stateRoot = keccak256("lie");
        vm.expectPartialRevert(IChunkDemands.Settlement_WrongChunk.selector);
        settlement.revealChunk(header, 1, receipts, path);
    }

    function test_RevertWhen_AReceiptLacks() public {
        (BatchHeader memory header, , bytes32[] memory path) = _postChunks();
        _demand(header, 1);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_ChunkSize.selector, 2, 3));
        settlement.revealChunk(header, 1, new RevealedReceipt[](2), path);
    }

    function test_RevertWhen_ABodyIsTooLongToBeOne() public {
        (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path) = _postChunks();
        _demand(header, 1);
        receipts[1].body = new bytes(1_025);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_BodyTooLong.selector, 1, 1_025));
        settlement.revealChunk(header, 1, receipts, path);
    }

    function test_AWithheldChunkMakesTheBatchFallAndRewardsTheDemander() public {
        (BatchHeader memory header, , ) = _postChunks();
        submitNext();
        uint256 price = _demand(header, 1);
        bytes32 headerHash = ReferenceHeader.hash(header);
        uint40 deadline = clock + _REVEAL;
        warpTo(deadline);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_RevealNotDue.selector, deadline));
        settlement.proveWithheld(header, 1);
        pass(1);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(settlement));
        emit IBatchChain.BatchFell(OPERATOR, 1, headerHash, 2);
        settlement.proveWithheld(header, 1);

        assertEq(settlement.chainOf(OPERATOR).tip, 0, "tip");
        assertEq(settlement.coinsOf(WATCHER), price, "refund");
        assertEq(token.balanceOf(WATCHER), BOND / 2, "reward");
        assertEq(supply - token.totalSupply(), BOND / 2, "burned");
        assertTrue(_status(header, 1) == IChunkDemands.DemandStatus.Withheld, "status");
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_NoOpenDemand.selector, headerHash, 1));
        settlement.refundDemand(headerHash, 1);
    }

    function test_TheOtherDemandsOfAFallenBatchAreRefundedOnce() public {
        (BatchHeader memory header, , ) = _postChunks();
        bytes32 headerHash = ReferenceHeader.hash(header);
        _demand(header, 1);
        uint256 price = _demand(header, 0);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_StillPending.selector, headerHash));
        settlement.refundDemand(headerHash, 0);
        pass(_REVEAL + 1);
        settlement.proveWithheld(header, 1);
        // What is posted next at this height has another name.
        token.approve(address(operators), BOND);
        operators.depositBond(OPERATOR, BOND);
        submitNext();
        settlement.refundDemand(headerHash, 0);
        assertEq(settlement.coinsOf(WATCHER), 2 * price, "coins");
        assertTrue(_status(header, 0) == IChunkDemands.DemandStatus.Refunded, "status");
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_NoOpenDemand.selector, headerHash, 0));
        settlement.refundDemand(headerHash, 0);
        assertEq(settlement.batchAt(OPERATOR, 1).openDemands, 0, "the new batch has no demands");
        assertEq(settlement.batchAt(OPERATOR, 1).demandDeadline, 0, "nor a deadline");
    }

    function test_RevertWhen_ThereAreNoCoinsOrTheyAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_NoCoins.selector, WATCHER));
        settlement.withdrawCoins(WATCHER);

        Refuser refuser = new Refuser();
        (BatchHeader memory header, , ) = _postChunks();
        uint256 price = settlement.demandPrice();
        vm.deal(address(refuser), price + 1);
        vm.prank(address(refuser));
        settlement.demandChunk{value: price + 1}(header, 0);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_CoinsRefused.selector, address(refuser)));
        settlement.withdrawCoins(address(refuser));
        assertEq(settlement.coinsOf(address(refuser)), 1, "still kept");
    }

    /// @dev Posts 35 receipts: a chunk of 32 and one of three, of which the latter is returned with its path.
    function _postChunks()
        private
        returns (BatchHeader memory header, RevealedReceipt[] memory receipts, bytes32[] memory path)
    {
        bytes32 first = keccak256("the first chunk");
        receipts = new RevealedReceipt[](3);
        bytes32[4] memory leaves;
        for (uint32 i; i < 3; ++i) {
            bytes memory body = abi.encode("body", i);
            receipts[i] = RevealedReceipt(uint16(body.length), keccak256(abi.encode("state", i)), body);
            leaves[i] = Hashes.receiptLeaf(32 + i, receipts[i].length, receipts[i].stateRoot, keccak256(body));
        }
        bytes32 second = Hashes.node(Hashes.node(leaves[0], leaves[1]), Hashes.node(leaves[2], 0));
        for (uint256 level = 2; level < 5; ++level) second = Hashes.node(second, 0);
        path = new bytes32[](1);
        path[0] = first;
        header = nextHeader();
        header.count = 35;
        header.receiptsRoot = Hashes.node(first, second);
        submit(header);
    }

    function _demand(BatchHeader memory header, uint256 chunk) private returns (uint256 price) {
        price = settlement.demandPrice();
        vm.deal(WATCHER, price);
        vm.prank(WATCHER);
        settlement.demandChunk{value: price}(header, chunk);
    }

    function _expectDemandRefused(BatchHeader memory header, uint256 chunk, bytes memory reason) private {
        uint256 price = settlement.demandPrice();
        vm.deal(WATCHER, price);
        vm.expectRevert(reason);
        vm.prank(WATCHER);
        settlement.demandChunk{value: price}(header, chunk);
    }

    function _status(BatchHeader memory header, uint256 chunk) private view returns (IChunkDemands.DemandStatus) {
        return settlement.demandOf(ReferenceHeader.hash(header), chunk).status;
    }
}
