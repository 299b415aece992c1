// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {IDataNetRegistry} from "../../../contracts/registries/IDataNetRegistry.sol";
import {Payee} from "../../../contracts/registries/PayeesLib.sol";
import {Registries} from "./Registries.sol";

contract DataNetRegistryTest is Registries {
    uint32 private _net;

    function setUp() public {
        deployRegistries();
        _net = createDataNet(ALICE);
    }

    function _check(uint32 id, uint32 from, uint32 until, uint256 acceptedAt, uint256 withdrawnAt) private view {
        (uint32 dataNet, uint32 fromVersion, uint32 untilVersion, uint40 accepted, uint40 withdrawn) = dataNets
            .contributionOf(id);
        assertEq(dataNet, _net, "dataNet");
        assertEq(fromVersion, from, "fromVersion");
        assertEq(untilVersion, until, "untilVersion");
        assertEq(accepted, acceptedAt, "acceptedAt");
        assertEq(withdrawn, withdrawnAt, "withdrawnAt");
    }

    function _accept(uint32 id) private {
        vm.prank(ALICE);
        dataNets.accept(ids1(id));
    }

    function _publish() private returns (uint32 version) {
        vm.prank(ALICE);
        return dataNets.publishVersion(_net);
    }

    // DataNets

    function test_ADataNetStartsWithoutVersions() public view {
        assertEq(dataNets.headOf(_net), 0, "head");
        assertEq(dataNets.ownerOf(_net), ALICE, "curator");
        assertEq(dataNets.contentHashOf(_net), bytes32(uint256(1)), "content");
    }

    function test_VersionsAreNumberedFromOne() public {
        assertEq(_publish(), 1, "first");
        assertEq(_publish(), 2, "second");
        assertEq(dataNets.headOf(_net), 2, "head");
        assertEq(dataNets.headOf(999), 0, "unknown");
    }

    function test_RevertWhen_NotTheCuratorPublishes() public {
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_NotCurator.selector, _net, BOB));
        dataNets.publishVersion(_net);
    }

    function test_RevertWhen_WhatIsPublishedIsNoDataNet() public {
        uint32 id = submit(BOB, _net);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_Unknown.selector, id));
        dataNets.publishVersion(id);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_Unknown.selector, 999));
        dataNets.publishVersion(999);
        // A prompt's id is none of this registry's.
        uint32 prompt = registerPrompt(BOB, nobody());
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_Unknown.selector, prompt));
        dataNets.publishVersion(prompt);
    }

    // Submission

    function test_AContributionIsATokenThatIsNotAcceptedYet() public {
        uint32 id = submit(BOB, _net);
        assertEq(dataNets.ownerOf(id), BOB, "owner");
        assertEq(dataNets.contentHashOf(id), bytes32(uint256(2)), "content");
        _check(id, 0, 0, 0, 0);
        (uint32 documents, uint40 size, bool rejected) = dataNets.contributionSizeOf(id);
        assertEq(documents, 3, "documents");
        assertEq(size, 4000, "size");
        assertFalse(rejected, "rejected");
    }

    function test_AnUnknownContributionIsAllZeros() public view {
        (uint32 a, uint32 b, uint32 c, uint40 d, uint40 e) = dataNets.contributionOf(999);
        assertTrue(a == 0 && b == 0 && c == 0 && d == 0 && e == 0, "contribution");
        // A DataNet is no contribution.
        (a, , , , ) = dataNets.contributionOf(_net);
        assertEq(a, 0, "dataNet");
    }

    function test_AContributionMayHavePayeesOfItsOwn() public {
        Payee[] memory list = payees2(BOB, 1, CAROL, 999_999);
        uint32 id = dataNets.submit(_net, bytes32(uint256(2)), "uri", "MIT", 1, 1, list);
        assertEq(dataNets.payeesHashOf(id), keccak256(abi.encode(list)), "payees");
    }

    function test_ARecordTakesOneSlot() public {
        uint32 id = submit(BOB, _net);
        _accept(id);
        // The mapping's place in the layout, found by what it must hold, so that a change of the layout is seen.
        for (uint256 place; place < 32; ++place) {
            bytes32 slot = keccak256(abi.encode(uint256(id), place));
            uint256 word = uint256(vm.load(address(dataNets), slot));
            if (uint32(word) != _net) continue;
            assertEq(uint32(word >> 32), 1, "fromVersion");
            assertEq(uint40(word >> 96), vm.getBlockTimestamp(), "acceptedAt");
            assertEq(uint32(word >> 176), 3, "documents");
            assertEq(uint40(word >> 208), 4000, "size");
            assertEq(uint256(vm.load(address(dataNets), bytes32(uint256(slot) + 1))), 0, "no second slot");
            return;
        }
        assertTrue(false, "no such slot");
    }

    function test_RevertWhen_ContributingNothing() public {
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_EmptyContribution.selector, 0, 1));
        dataNets.submit(_net, bytes32(uint256(2)), "uri", "MIT", 0, 1, nobody());
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_EmptyContribution.selector, 1, 0));
        dataNets.submit(_net, bytes32(uint256(2)), "uri", "MIT", 1, 0, nobody());
        vm.expectRevert(IContribution721.Contribution_NoContent.selector);
        dataNets.submit(_net, 0, "uri", "MIT", 1, 1, nobody());
    }

    function test_RevertWhen_ContributingToWhatIsNoDataNet() public {
        uint32 id = submit(BOB, _net);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_Unknown.selector, id));
        dataNets.submit(id, bytes32(uint256(2)), "uri", "MIT", 1, 1, nobody());
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_Unknown.selector, 0));
        dataNets.submit(0, bytes32(uint256(2)), "uri", "MIT", 1, 1, nobody());
    }

    // Decisions

    function test_WhatIsAcceptedIsInTheNextVersion() public {
        _publish();
        _publish();
        uint32 id = submit(BOB, _net);
        vm.warp(vm.getBlockTimestamp() + 10);
        _accept(id);
        _check(id, 3, 0, vm.getBlockTimestamp(), 0);
    }

    function test_WhatIsWithdrawnIsInTheVersionsUpToNow() public {
        uint32 id = submit(BOB, _net);
        _accept(id);
        uint256 acceptedAt = vm.getBlockTimestamp();
        _publish();
        _publish();
        vm.warp(vm.getBlockTimestamp() + 10);
        vm.prank(BOB);
        dataNets.withdraw(id);
        _check(id, 1, 3, acceptedAt, vm.getBlockTimestamp());
    }

    function test_WhatIsAcceptedAndWithdrawnBetweenVersionsIsInNone() public {
        uint32 id = submit(BOB, _net);
        _accept(id);
        vm.prank(ALICE);
        dataNets.withdraw(id);
        _check(id, 1, 1, vm.getBlockTimestamp(), vm.getBlockTimestamp());
    }

    function test_WhatIsWithdrawnBeforeADecisionIsNeverAccepted() public {
        uint32 id = submit(BOB, _net);
        vm.prank(BOB);
        dataNets.withdraw(id);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, id));
        dataNets.accept(ids1(id));
    }

    function test_WhatIsRejectedIsNeverAcceptedNorWithdrawn() public {
        uint32 id = submit(BOB, _net);
        vm.prank(ALICE);
        dataNets.reject(ids1(id));
        (, , bool rejected) = dataNets.contributionSizeOf(id);
        assertTrue(rejected, "rejected");
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, id));
        dataNets.accept(ids1(id));
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyClosed.selector, id));
        dataNets.withdraw(id);
    }

    function test_ManyAreDecidedUponAtOnceAndAllOrNone() public {
        uint32[] memory ids = new uint32[](2);
        ids[0] = submit(BOB, _net);
        ids[1] = submit(CAROL, _net);
        _accept(ids[1]);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, ids[1]));
        dataNets.accept(ids);
        (, , , uint40 acceptedAt, ) = dataNets.contributionOf(ids[0]);
        assertEq(acceptedAt, 0, "none");
    }

    function test_RevertWhen_AcceptedRejectedOrWithdrawnTwice() public {
        uint32 id = submit(BOB, _net);
        _accept(id);
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, id));
        dataNets.accept(ids1(id));
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, id));
        dataNets.reject(ids1(id));
        dataNets.withdraw(id);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyClosed.selector, id));
        dataNets.withdraw(id);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_AlreadyDecided.selector, id));
        dataNets.accept(ids1(id));
        vm.stopPrank();
    }

    function test_RevertWhen_NotTheCuratorDecides() public {
        uint32 id = submit(BOB, _net);
        vm.startPrank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_NotCurator.selector, _net, BOB));
        dataNets.accept(ids1(id));
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_NotCurator.selector, _net, BOB));
        dataNets.reject(ids1(id));
        vm.stopPrank();
    }

    function test_RevertWhen_AStrangerWithdraws() public {
        uint32 id = submit(BOB, _net);
        vm.prank(CAROL);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_NotOwnerOrCurator.selector, id, CAROL));
        dataNets.withdraw(id);
    }

    function test_RevertWhen_WhatIsDecidedUponIsNoContribution() public {
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_UnknownContribution.selector, _net));
        dataNets.accept(ids1(_net));
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_UnknownContribution.selector, 999));
        dataNets.reject(ids1(999));
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_UnknownContribution.selector, _net));
        dataNets.withdraw(_net);
        vm.stopPrank();
    }

    function test_TheNewOwnerOfADataNetIsItsCurator() public {
        uint32 id = submit(BOB, _net);
        vm.prank(ALICE);
        dataNets.transferFrom(ALICE, CAROL, _net);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IDataNetRegistry.DataNet_NotCurator.selector, _net, ALICE));
        dataNets.accept(ids1(id));
        vm.prank(CAROL);
        dataNets.accept(ids1(id));
        _check(id, 1, 0, vm.getBlockTimestamp(), 0);
    }
}
