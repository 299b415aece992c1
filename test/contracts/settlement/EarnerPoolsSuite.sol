// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {Payee} from "../../../contracts/registries/PayeesLib.sol";
import {IBatchChain} from "../../../contracts/settlement/IBatchChain.sol";
import {IEarnerPools} from "../../../contracts/settlement/IEarnerPools.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {EarnerClaim} from "../../../contracts/settlement/types/EarnerClaim.sol";
import {State} from "../../../contracts/settlement/types/State.sol";
import {ReferenceHeader} from "./ReferenceHeader.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

abstract contract EarnerPoolsSuite is SettlementFixture {
    uint40 private constant _COLLECT = 24 hours;
    uint40 private constant _PAYEES_DELAY = 7 days;

    /// @dev Contributors are owed 60 ether, the treasury 2, the operator 38.
    function _earn() private returns (BatchHeader memory header, EarnerClaim memory request) {
        (uint32[] memory ids, uint128[] memory earned) = _earners();
        State memory state;
        state.earnersRoot = earnersRoot(ids, earned);
        (state.totalSpent, state.treasuryEarned, state.operatorEarned) = (100 ether, 2 ether, 38 ether);
        header = finalizeNext(state);
        request = claimOf(header, ids, earned);
    }

    function _earners() private pure returns (uint32[] memory ids, uint128[] memory earned) {
        ids = new uint32[](3);
        earned = new uint128[](3);
        (ids[0], ids[1], ids[2]) = (CONTRIBUTION, CONTRIBUTION + 1, AGENT);
        (earned[0], earned[1], earned[2]) = (10 ether, 20 ether, 30 ether);
    }

    function test_AClaimPaysTheOwnersStraight() public {
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 100 ether);
        vm.expectEmit(address(settlement));
        emit IEarnerPools.EarningsClaimed(OPERATOR, CONTRIBUTION, 10 ether, 10 ether);
        assertEq(settlement.claim(request), 60 ether, "paid");
        assertEq(token.balanceOf(CREATOR), 60 ether, "received");
        assertEq(settlement.claimedOf(OPERATOR, CONTRIBUTION), 10 ether, "first");
        assertEq(settlement.claimedOf(OPERATOR, CONTRIBUTION + 1), 20 ether, "second");
        assertEq(settlement.claimedOf(OPERATOR, AGENT), 30 ether, "third");
        assertEq(settlement.poolOf(OPERATOR).balance, 40 ether, "pool");
        assertEq(settlement.poolOf(OPERATOR).contributorsPaid, 60 ether, "contributors paid");

        // Again: nothing is left to pay.
        assertEq(settlement.claim(request), 0, "paid twice");
        assertEq(token.balanceOf(CREATOR), 60 ether, "received twice");
    }

    function test_LaterClaimsPayWhatWasEarnedSince() public {
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 200 ether);
        settlement.claim(request);
        (uint32[] memory ids, uint128[] memory earned) = _earners();
        earned[1] += 5 ether;
        State memory state = request.header.state;
        state.earnersRoot = earnersRoot(ids, earned);
        state.totalSpent += 5 ether;
        BatchHeader memory header = finalizeNext(state);
        assertEq(settlement.claim(claimOf(header, ids, earned)), 5 ether, "paid");

        vm.expectRevert(
            abi.encodeWithSelector(
                IBatchChain.Settlement_NotFinalHeader.selector,
                ReferenceHeader.hash(request.header),
                ReferenceHeader.hash(header)
            )
        );
        settlement.claim(request);
    }

    function test_PayeesShareByCumulativeRoundingAndNothingIsLost() public {
        (Payee[] memory payees, ) = _setPayees();
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 100 ether);
        request.payees[2] = payees;
        settlement.claim(request);
        // The cumulative shares 333,333, 666,666 and 1,000,000 of 30 ether.
        assertEq(token.balanceOf(payees[0].account), 9.99999 ether, "first");
        assertEq(token.balanceOf(payees[1].account), 9.99999 ether, "second");
        assertEq(token.balanceOf(payees[2].account), 10.00002 ether, "third");
    }

    function test_RevertWhen_ThePayeesAreNotThoseInForce() public {
        (Payee[] memory payees, bytes32 expected) = _setPayees();
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 100 ether);
        vm.expectRevert(
            abi.encodeWithSelector(IEarnerPools.Settlement_WrongPayees.selector, AGENT, bytes32(0), expected)
        );
        settlement.claim(request);
        payees[0].account = WATCHER;
        request.payees[2] = payees;
        vm.expectRevert(
            abi.encodeWithSelector(
                IEarnerPools.Settlement_WrongPayees.selector,
                AGENT,
                keccak256(abi.encode(payees)),
                expected
            )
        );
        settlement.claim(request);
    }

    function test_AListChangedBeforeAClaimLeavesTimeToPushIt() public {
        (Payee[] memory payees, ) = _setPayees();
        Payee[] memory others = new Payee[](1);
        others[0] = Payee(WATCHER, 1_000_000);
        vm.prank(CREATOR);
        agents.setPayees(AGENT, others);
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 100 ether);
        request.payees[2] = payees;
        settlement.claim(request);
        assertEq(token.balanceOf(WATCHER), 0, "the new list took what was earned before");
    }

    function test_ATransferThatFailsDoesNotStandInTheWayOfOthers() public {
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 100 ether);
        // The owner of the first contribution sells it to an account that the token refuses to pay.
        address blocked = address(0xB10C);
        vm.prank(CREATOR);
        dataNets.transferFrom(CREATOR, blocked, CONTRIBUTION);
        vm.mockCallRevert(address(token), abi.encodeCall(IERC20.transfer, (blocked, 10 ether)), "blocked");
        vm.expectEmit(address(settlement));
        emit IEarnerPools.PayoutDeferred(blocked, 10 ether);
        assertEq(settlement.claim(request), 60 ether, "paid");
        assertEq(settlement.owed(blocked), 10 ether, "kept");
        assertEq(token.balanceOf(CREATOR), 50 ether, "others");

        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_TransferFailed.selector, blocked));
        settlement.retryPayout(blocked);
        vm.clearMockedCalls();
        settlement.retryPayout(blocked);
        assertEq(token.balanceOf(blocked), 10 ether, "retried");
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_NothingKept.selector, blocked));
        settlement.retryPayout(blocked);
    }

    function test_AShortPoolPaysInTheOrderOfTheIdsWhatItCan() public {
        (, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 25 ether);
        assertEq(settlement.claim(request), 25 ether, "paid");
        assertEq(settlement.claimedOf(OPERATOR, CONTRIBUTION), 10 ether, "first");
        assertEq(settlement.claimedOf(OPERATOR, CONTRIBUTION + 1), 15 ether, "second in part");
        assertEq(settlement.claimedOf(OPERATOR, AGENT), 0, "third");
        fundPool(OPERATOR, 40 ether);
        assertEq(settlement.claim(request), 35 ether, "the rest");
    }

    function test_TheBondPaysContributorsOnlyAfterTheTimeToCollect() public {
        (BatchHeader memory header, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 25 ether);
        pass(_COLLECT - 1);
        assertEq(settlement.claim(request), 25 ether, "before K");
        pass(1);
        vm.expectEmit(address(settlement));
        emit IEarnerPools.BondAdvanced(OPERATOR, 35 ether);
        assertEq(settlement.claim(request), 35 ether, "from K on");
        assertEq(operators.bondOf(OPERATOR), BOND - 35 ether, "bond");
        assertEq(settlement.poolOf(OPERATOR).advanced, 35 ether, "advanced");
        assertEq(settlement.poolOf(OPERATOR).balance, 0, "pool");

        // What comes in later pays the treasury, the operator, and what the bond advanced.
        fundPool(OPERATOR, 75 ether);
        assertEq(settlement.claimTreasury(header), 2 ether, "treasury");
        vm.expectEmit(address(settlement));
        emit IEarnerPools.OperatorPaid(OPERATOR, OPERATOR_OWNER, 38 ether, 35 ether);
        assertEq(settlement.claimOperator(header), 73 ether, "operator");
        assertEq(settlement.poolOf(OPERATOR).advanced, 0, "all is returned");
    }

    function test_ABondThatIsOnItsWayOutPaysContributorsAtOnce() public {
        (, EarnerClaim memory request) = _earn();
        assertEq(settlement.claim(request), 0, "before K");
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(OPERATOR, 1);
        assertEq(settlement.claim(request), 60 ether, "while unbonding");
    }

    function test_ABondThatIsTooSmallPaysInPart() public {
        (, EarnerClaim memory request) = _earn();
        vm.prank(address(settlement));
        operators.draw(OPERATOR, BOND - 15 ether);
        // What was drawn here belongs to nobody: the pool does not know of it.
        pass(_COLLECT);
        assertEq(settlement.claim(request), 15 ether, "paid");
        assertEq(settlement.claimedOf(OPERATOR, CONTRIBUTION + 1), 5 ether, "second in part");
        assertEq(settlement.claim(request), 0, "nothing left");
    }

    function test_OperatorAndTreasuryRankBehindContributors() public {
        (BatchHeader memory header, EarnerClaim memory request) = _earn();
        fundPool(OPERATOR, 60 ether);
        assertEq(settlement.claimTreasury(header), 0, "treasury");
        assertEq(settlement.claimOperator(header), 0, "operator");
        fundPool(OPERATOR, 3 ether);
        // The operator ranks behind the treasury too, whoever calls first.
        assertEq(settlement.claimOperator(header), 1 ether, "operator gets the excess over both");
        assertEq(settlement.claimTreasury(header), 2 ether, "treasury");
        assertEq(settlement.claim(request), 60 ether, "contributors");
        fundPool(OPERATOR, 37 ether);
        assertEq(settlement.claimOperator(header), 37 ether, "the rest");
        assertEq(settlement.claimOperator(header), 0, "once");
        assertEq(settlement.claimTreasury(header), 0, "once");
        assertEq(token.balanceOf(TREASURY), 2 ether, "treasury's balance");
        assertEq(token.balanceOf(OPERATOR_OWNER), 38 ether, "operator's balance");
        assertEq(token.balanceOf(address(settlement)), 0, "to the wei");
    }

    function test_PoolsOfOperatorsAreKeptApart() public {
        (, EarnerClaim memory request) = _earn();
        fundPool(2, 100 ether);
        assertEq(settlement.claim(request), 0, "paid from another's pool");
        assertEq(settlement.poolOf(2).balance, 100 ether, "other pool");
    }

    function test_RevertWhen_TheHeaderIsNotFinal() public {
        (uint32[] memory ids, uint128[] memory earned) = _earners();
        State memory state;
        state.earnersRoot = earnersRoot(ids, earned);
        BatchHeader memory header = nextHeader(state);
        submit(header);
        bytes memory reason = abi.encodeWithSelector(
            IBatchChain.Settlement_NotFinalHeader.selector,
            ReferenceHeader.hash(header),
            bytes32(0)
        );
        EarnerClaim memory request = claimOf(header, ids, earned);
        vm.expectRevert(reason);
        settlement.claim(request);
        vm.expectRevert(reason);
        settlement.claimOperator(header);
        vm.expectRevert(reason);
        settlement.claimTreasury(header);
    }

    function test_RevertWhen_TheEarningsAreNotThoseOfTheFinalState() public {
        (, EarnerClaim memory request) = _earn();
        request.earned[0] += 1;
        vm.expectPartialRevert(IEarnerPools.Settlement_WrongEarnings.selector);
        settlement.claim(request);
    }

    function test_RevertWhen_AnEarnerIsClaimedTwiceInOneCall() public {
        (, EarnerClaim memory request) = _earn();
        request.ids[1] = request.ids[0];
        vm.expectRevert();
        settlement.claim(request);
    }

    function test_RevertWhen_TheListsDifferInLength() public {
        (, EarnerClaim memory request) = _earn();
        request.payees = new Payee[][](2);
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_ClaimLength.selector, 3, 3, 2));
        settlement.claim(request);
        request.payees = new Payee[][](3);
        request.earned = new uint128[](4);
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_ClaimLength.selector, 3, 4, 3));
        settlement.claim(request);
    }

    function test_RevertWhen_NoRegistryKnowsTheEarner() public {
        uint32[] memory ids = new uint32[](1);
        uint128[] memory earned = new uint128[](1);
        (ids[0], earned[0]) = (999, 1 ether);
        State memory state;
        state.earnersRoot = earnersRoot(ids, earned);
        state.totalSpent = 1 ether;
        BatchHeader memory header = finalizeNext(state);
        fundPool(OPERATOR, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_UnknownEarner.selector, 999));
        settlement.claim(claimOf(header, ids, earned));
    }

    function test_RevertWhen_AnotherThanTheChannelsCreditsAPool() public {
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_NotChannels.selector, address(this)));
        settlement.creditPool(OPERATOR, 1);
        vm.expectRevert(abi.encodeWithSelector(IEarnerPools.Settlement_AmountTooLarge.selector, uint256(1) << 128));
        vm.prank(address(channels));
        settlement.creditPool(OPERATOR, uint256(1) << 128);
    }

    function test_AFinalLieThatOwesMoreThanWasSpentStopsNothing() public {
        (uint32[] memory ids, uint128[] memory earned) = _earners();
        State memory state;
        state.earnersRoot = earnersRoot(ids, earned);
        (state.totalSpent, state.treasuryEarned, state.operatorEarned) = (1 ether, 2 ether, type(uint128).max);
        BatchHeader memory header = finalizeNext(state);
        fundPool(OPERATOR, 80 ether);
        assertEq(settlement.claim(claimOf(header, ids, earned)), 60 ether, "contributors");
        assertEq(settlement.claimTreasury(header), 2 ether, "treasury");
        assertEq(settlement.claimOperator(header), 18 ether, "no more than the pool holds");
    }

    /// @dev The agent is paid to three accounts.
    function _setPayees() private returns (Payee[] memory payees, bytes32 payeesHash) {
        payees = new Payee[](3);
        payees[0] = Payee(address(0xA1), 333_333);
        payees[1] = Payee(address(0xA2), 333_333);
        payees[2] = Payee(address(0xA3), 333_334);
        vm.prank(CREATOR);
        agents.setPayees(AGENT, payees);
        pass(_PAYEES_DELAY);
        payeesHash = IContribution721(address(agents)).payeesHashOf(AGENT);
    }
}
