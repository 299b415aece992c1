// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {SparseMultiproof} from "../../../contracts/settlement/libraries/SparseMultiproof.sol";
import {TestBase} from "../TestBase.sol";
import {ProtocolHarness} from "../harness/ProtocolHarness.sol";
import {ReferenceTree} from "./ReferenceTree.sol";

contract SparseMultiproofTest is TestBase {
    ProtocolHarness private _harness;

    function setUp() public {
        _harness = new ProtocolHarness();
    }

    function testFuzz_BothRootsAreThoseOfTheWholeTrees(uint256 seed) public view {
        (uint32[] memory ids, bytes32[] memory leaves) = _randomTree(seed, 1 + (seed % 24));
        (uint32[] memory subset, bytes32[] memory before, bytes32[] memory afterwards) = _change(ids, leaves, seed);
        ReferenceTree.Proof memory proof = ReferenceTree.prove(ids, leaves, subset);

        (bytes32 rootBefore, bytes32 rootAfter) = _harness.multiproofRoots(
            subset,
            before,
            afterwards,
            proof.siblings,
            proof.bitmap
        );
        assertEq(rootBefore, proof.root, "root before");
        (uint32[] memory idsAfter, bytes32[] memory leavesAfter) = _merged(ids, leaves, subset, afterwards);
        assertEq(rootAfter, ReferenceTree.root(idsAfter, leavesAfter), "root after");
        assertEq(_harness.multiproofRoot(subset, before, proof.siblings, proof.bitmap), proof.root, "single root");
    }

    function testFuzz_AnotherLeafLeadsToAnotherRoot(uint256 seed, bytes32 lie) public view {
        (uint32[] memory ids, bytes32[] memory leaves) = _randomTree(seed, 9);
        (uint32[] memory subset, bytes32[] memory before, ) = _change(ids, leaves, seed);
        ReferenceTree.Proof memory proof = ReferenceTree.prove(ids, leaves, subset);
        uint256 place = seed % subset.length;
        vm.assume(before[place] != lie);
        before[place] = lie;
        bytes32 root = _harness.multiproofRoot(subset, before, proof.siblings, proof.bitmap);
        assertTrue(root != proof.root, "a lie has the same root");
    }

    function test_AnEmptyTreeHasTheRootZero() public view {
        uint32[] memory ids = new uint32[](1);
        ids[0] = 77;
        bytes32 root = _harness.multiproofRoot(ids, new bytes32[](1), new bytes32[](0), new bytes(4));
        assertEq(root, bytes32(0), "root");
    }

    function test_ASingleLeafIsHashedThirtyTwoTimes() public view {
        uint32[] memory ids = new uint32[](1);
        ids[0] = 5;
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = Hashes.earnerLeaf(5, 1 ether);
        bytes32 expected = leaves[0];
        for (uint256 level; level < 32; ++level) {
            expected = (5 >> level) & 1 == 0 ? Hashes.node(expected, 0) : Hashes.node(0, expected);
        }
        assertEq(_harness.multiproofRoot(ids, leaves, new bytes32[](0), new bytes(4)), expected, "root");
    }

    function test_TheFirstAndTheLastIndexStandInOneTree() public view {
        uint32[] memory ids = new uint32[](2);
        ids[1] = type(uint32).max;
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = bytes32(uint256(1));
        leaves[1] = bytes32(uint256(2));
        ReferenceTree.Proof memory proof = ReferenceTree.prove(ids, leaves, ids);
        assertEq(_harness.multiproofRoot(ids, leaves, proof.siblings, proof.bitmap), proof.root, "root");
    }

    function test_RevertWhen_IdsDoNotAscend() public {
        uint32[] memory ids = new uint32[](3);
        (ids[0], ids[1], ids[2]) = (1, 4, 4);
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_Unsorted.selector, 2));
        _harness.multiproofRoot(ids, new bytes32[](3), new bytes32[](0), new bytes(12));
    }

    function test_RevertWhen_NothingIsProven() public {
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_LengthMismatch.selector, 0, 0, 0));
        _harness.multiproofRoot(new uint32[](0), new bytes32[](0), new bytes32[](0), "");
    }

    function test_RevertWhen_TheArraysDifferInLength() public {
        uint32[] memory ids = new uint32[](2);
        ids[1] = 1;
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_LengthMismatch.selector, 2, 1, 1));
        _harness.multiproofRoot(ids, new bytes32[](1), new bytes32[](0), new bytes(4));
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_LengthMismatch.selector, 2, 2, 3));
        _harness.multiproofRoots(ids, new bytes32[](2), new bytes32[](3), new bytes32[](0), new bytes(4));
    }

    function test_RevertWhen_AHashOrByteIsLeftOver() public {
        uint32[] memory ids = new uint32[](1);
        bytes32[] memory leaves = new bytes32[](1);
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_UnusedWitness.selector, 0, 1, 32, 4));
        _harness.multiproofRoot(ids, leaves, new bytes32[](1), new bytes(4));
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_UnusedWitness.selector, 0, 0, 32, 5));
        _harness.multiproofRoot(ids, leaves, new bytes32[](0), new bytes(5));
    }

    function test_RevertWhen_AHashOrByteLacks() public {
        uint32[] memory ids = new uint32[](1);
        bytes32[] memory leaves = new bytes32[](1);
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_UnusedWitness.selector, 1, 0, 32, 4));
        _harness.multiproofRoot(ids, leaves, new bytes32[](0), hex"01000000");
        vm.expectRevert(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_UnusedWitness.selector, 0, 0, 32, 3));
        _harness.multiproofRoot(ids, leaves, new bytes32[](0), new bytes(3));
    }

    /// @dev Close ids and far ones, ascending.
    function _randomTree(
        uint256 seed,
        uint256 size
    ) private pure returns (uint32[] memory ids, bytes32[] memory leaves) {
        ids = new uint32[](size);
        leaves = new bytes32[](size);
        uint256 next;
        for (uint256 i; i < size; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            next += 1 + (dice % 3 == 0 ? dice % 100_000_000 : dice % 3);
            ids[i] = uint32(next);
            leaves[i] = keccak256(abi.encode(seed, i, "leaf"));
        }
    }

    /// @dev Some of the leaves and some that are not there yet, with new hashes.
    function _change(
        uint32[] memory ids,
        bytes32[] memory leaves,
        uint256 seed
    ) private pure returns (uint32[] memory subset, bytes32[] memory before, bytes32[] memory afterwards) {
        subset = new uint32[](2 * ids.length);
        before = new bytes32[](2 * ids.length);
        uint256 count;
        for (uint256 i; i < ids.length; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i, "subset")));
            if (i == 0 || dice & 1 == 0) (subset[count], before[count++]) = (ids[i], leaves[i]);
            bool free = i + 1 == ids.length || ids[i + 1] > ids[i] + 1;
            if (dice & 6 == 0 && free) subset[count++] = ids[i] + 1;
        }
        assembly ("memory-safe") {
            mstore(subset, count)
            mstore(before, count)
        }
        afterwards = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            bytes32 fresh = keccak256(abi.encode(seed, i, "after"));
            // Some leaves go back to zero.
            if (uint256(fresh) % 5 != 0) afterwards[i] = fresh;
        }
    }

    function _merged(
        uint32[] memory ids,
        bytes32[] memory leaves,
        uint32[] memory subset,
        bytes32[] memory afterwards
    ) private pure returns (uint32[] memory allIds, bytes32[] memory allLeaves) {
        allIds = new uint32[](ids.length + subset.length);
        allLeaves = new bytes32[](allIds.length);
        uint256 i;
        uint256 j;
        uint256 count;
        while (i < ids.length || j < subset.length) {
            if (j == subset.length || (i < ids.length && ids[i] < subset[j])) {
                (allIds[count], allLeaves[count++]) = (ids[i], leaves[i]);
                ++i;
            } else {
                if (i < ids.length && ids[i] == subset[j]) ++i;
                (allIds[count], allLeaves[count++]) = (subset[j], afterwards[j]);
                ++j;
            }
        }
        assembly ("memory-safe") {
            mstore(allIds, count)
            mstore(allLeaves, count)
        }
    }
}
