// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IBatchChain} from "../../../contracts/settlement/IBatchChain.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {State} from "../../../contracts/settlement/types/State.sol";
import {ReferenceHeader} from "./ReferenceHeader.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

abstract contract BatchChainSuite is SettlementFixture {
    uint40 private constant _W = 24 hours;
    uint40 private constant _LAG = 25 hours;

    function test_ABatchBecomesTheTipAndIsPending() public {
        BatchHeader memory header = nextHeader();
        bytes32 headerHash = ReferenceHeader.hash(header);
        vm.expectEmit(address(settlement));
        emit IBatchChain.BatchSubmitted(OPERATOR, 1, headerHash, header);
        submit(header);

        IBatchChain.Chain memory chain = settlement.chainOf(OPERATOR);
        assertEq(chain.tip, 1, "tip");
        assertEq(chain.sequence, 1, "sequence");
        assertEq(chain.finalHeight, 0, "final");
        assertTrue(settlement.isPending(OPERATOR, 1, headerHash), "pending");
        assertEq(settlement.batchAt(OPERATOR, 1).submittedAt, clock, "submitted at");
        assertEq(settlement.finalHeaderHashOf(OPERATOR), bytes32(0), "nothing is final");
    }

    function test_RevertWhen_AnotherThanTheSignerPosts() public {
        BatchHeader memory header = nextHeader();
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NotSigner.selector, OPERATOR, OPERATOR_OWNER));
        vm.prank(OPERATOR_OWNER);
        settlement.submitBatch(header);
    }

    function test_RevertWhen_TheOperatorIsUnknown() public {
        BatchHeader memory header = nextHeader();
        header.operator = 2;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_NotSigner.selector, 2, SIGNER));
    }

    function test_RevertWhen_TheHeightIsNotTheNext() public {
        submitNext();
        BatchHeader memory header = nextHeader();
        header.height = 1;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_WrongHeight.selector, 1, 2));
        header.height = 3;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_WrongHeight.selector, 3, 2));
    }

    function test_RevertWhen_TheParentIsAnother() public {
        BatchHeader memory header = nextHeader();
        header.parentHash = keccak256("other");
        _expectRefusal(
            header,
            abi.encodeWithSelector(IBatchChain.Settlement_WrongParent.selector, header.parentHash, bytes32(0))
        );
        bytes32 expected = ReferenceHeader.hash(submitNext());
        header = nextHeader();
        header.parentHash = 0;
        _expectRefusal(
            header,
            abi.encodeWithSelector(IBatchChain.Settlement_WrongParent.selector, bytes32(0), expected)
        );
    }

    function test_RevertWhen_ASequenceComesAgain() public {
        BatchHeader memory header = nextHeader();
        header.sequence = 0;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_SequenceUsed.selector, 0, 0));
        header.sequence = 9;
        submit(header);
        header = nextHeader();
        header.sequence = 9;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_SequenceUsed.selector, 9, 9));
    }

    function test_RevertWhen_TheRegistryTimeIsTooOldOrAhead() public {
        BatchHeader memory header = nextHeader();
        uint256 present = clock;
        header.registryTime = uint40(present - _LAG - 1);
        _expectRefusal(
            header,
            abi.encodeWithSelector(
                IBatchChain.Settlement_RegistryTime.selector,
                header.registryTime,
                present - _LAG,
                present
            )
        );
        header.registryTime = uint40(present + 1);
        _expectRefusal(
            header,
            abi.encodeWithSelector(
                IBatchChain.Settlement_RegistryTime.selector,
                header.registryTime,
                present - _LAG,
                present
            )
        );
        header.registryTime = uint40(present - _LAG);
        submit(header);
    }

    function test_RevertWhen_TheRegistryTimeGoesBack() public {
        BatchHeader memory parent = submitNext();
        BatchHeader memory header = nextHeader();
        header.registryTime = parent.registryTime - 1;
        _expectRefusal(
            header,
            abi.encodeWithSelector(
                IBatchChain.Settlement_RegistryTime.selector,
                header.registryTime,
                parent.registryTime,
                clock
            )
        );
    }

    function test_RevertWhen_TheBatchIsEmptyOrTooLarge() public {
        BatchHeader memory header = nextHeader();
        header.count = 0;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_ReceiptCount.selector, 0, 16_384));
        header.count = 16_385;
        _expectRefusal(header, abi.encodeWithSelector(IBatchChain.Settlement_ReceiptCount.selector, 16_385, 16_384));
        header.count = 16_384;
        submit(header);
    }

    function test_RevertWhen_TheTotalSpentFallsOrDoesNotFit() public {
        State memory state;
        state.totalSpent = 50 ether;
        submit(nextHeader(state));
        state.totalSpent -= 1;
        _expectRefusal(
            nextHeader(state),
            abi.encodeWithSelector(
                IBatchChain.Settlement_TotalSpent.selector,
                state.totalSpent,
                50 ether,
                type(uint96).max
            )
        );
        state.totalSpent = uint128(type(uint96).max) + 1;
        _expectRefusal(
            nextHeader(state),
            abi.encodeWithSelector(
                IBatchChain.Settlement_TotalSpent.selector,
                state.totalSpent,
                50 ether,
                type(uint96).max
            )
        );
    }

    function test_RevertWhen_TheBondIsBelowTheMinimum() public {
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(OPERATOR, BOND - MINIMUM_BOND + 1);
        _expectRefusal(
            nextHeader(),
            abi.encodeWithSelector(IBatchChain.Settlement_BondTooSmall.selector, MINIMUM_BOND - 1, MINIMUM_BOND)
        );
    }

    function test_TheBondHasToCoverWhatIsPendingAndNoMore() public {
        State memory state;
        state.totalSpent = uint128(BOND) + 1;
        _expectRefusal(
            nextHeader(state),
            abi.encodeWithSelector(IBatchChain.Settlement_BondTooSmall.selector, BOND, BOND + 1)
        );
        state.totalSpent -= 1;
        finalizeNext(state);
        // What is final does not count any more.
        state.totalSpent += uint128(BOND);
        submit(nextHeader(state));
    }

    function test_RevertWhen_ThirtyTwoBatchesArePending() public {
        for (uint256 i; i < 32; ++i) submitNext();
        _expectRefusal(nextHeader(), abi.encodeWithSelector(IBatchChain.Settlement_TooManyPending.selector, 32));
        pass(_W + 1);
        settlement.finalize(OPERATOR, 1);
        submitNext();
    }

    function test_TheRingHoldsTheNewestFinalBatchForManyRounds() public {
        for (uint64 round = 1; round <= 10; ++round) {
            BatchHeader memory header;
            for (uint256 i; i < 31; ++i) header = submitNext();
            pass(_W + 1);
            settlement.finalize(OPERATOR, header.height);
            assertEq(settlement.finalHeaderHashOf(OPERATOR), ReferenceHeader.hash(header), "final header");
            // One more is in flight while the next round starts.
            submitNext();
        }
        assertEq(settlement.chainOf(OPERATOR).tip, 320, "tip");
    }

    function test_ABatchIsFinalOnlyAfterTheChallengeWindow() public {
        BatchHeader memory header = submitNext();
        uint256 readyAt = clock + _W;
        warpTo(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NotRipe.selector, 1, readyAt));
        settlement.finalize(OPERATOR, 1);
        warpTo(readyAt + 1);
        vm.expectEmit(address(settlement));
        emit IBatchChain.BatchFinalized(OPERATOR, 1, ReferenceHeader.hash(header));
        settlement.finalize(OPERATOR, 1);
        assertEq(settlement.chainOf(OPERATOR).finalHeight, 1, "final");
        assertEq(settlement.chainOf(OPERATOR).finalisedAt, clock, "finalised at");
        assertFalse(settlement.isPending(OPERATOR, 1, ReferenceHeader.hash(header)), "still pending");
    }

    function test_SeveralBatchesBecomeFinalInOneCallButNotBeforeTheirParents() public {
        submitNext();
        pass(10);
        submitNext();
        submitNext();
        uint256 second = clock;
        warpTo(second + _W - 5);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NotRipe.selector, 2, second + _W));
        settlement.finalize(OPERATOR, 3);
        warpTo(second + _W + 1);
        settlement.finalize(OPERATOR, 3);
        assertEq(settlement.chainOf(OPERATOR).finalHeight, 3, "final");
    }

    function test_RevertWhen_ThereIsNothingToFinalize() public {
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NothingToFinalize.selector, 1, 0, 0));
        settlement.finalize(OPERATOR, 1);
        submitNext();
        pass(_W + 1);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NothingToFinalize.selector, 2, 0, 1));
        settlement.finalize(OPERATOR, 2);
        settlement.finalize(OPERATOR, 1);
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_NothingToFinalize.selector, 1, 1, 1));
        settlement.finalize(OPERATOR, 1);
    }

    function test_TwoOperatorsHaveChainsOfTheirOwn() public {
        vm.prank(WATCHER);
        operators.register("https://second.example", SIGNER);
        token.approve(address(operators), BOND);
        operators.depositBond(2, BOND);
        submitNext();
        submitNext();
        BatchHeader memory header = nextHeader();
        (header.operator, header.height, header.parentHash, header.sequence) = (2, 1, 0, 1);
        submit(header);
        assertEq(settlement.chainOf(2).tip, 1, "second operator");
        assertEq(settlement.chainOf(OPERATOR).tip, 2, "first operator");
    }

    function _expectRefusal(BatchHeader memory header, bytes memory reason) private {
        vm.expectRevert(reason);
        submit(header);
    }
}
