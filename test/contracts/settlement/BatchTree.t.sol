// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchTree} from "../../../contracts/settlement/libraries/BatchTree.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {TestBase} from "../TestBase.sol";
import {ProtocolHarness} from "../harness/ProtocolHarness.sol";

contract BatchTreeTest is TestBase {
    ProtocolHarness private _harness;

    function setUp() public {
        _harness = new ProtocolHarness();
    }

    function test_DepthIsTheLogarithmRoundedUp() public pure {
        assertEq(BatchTree.depth(1), 0, "1");
        assertEq(BatchTree.depth(2), 1, "2");
        assertEq(BatchTree.depth(3), 2, "3");
        assertEq(BatchTree.depth(32), 5, "32");
        assertEq(BatchTree.depth(33), 6, "33");
        assertEq(BatchTree.depth(16_384), 14, "16,384");
    }

    function test_ChunksHold32ReceiptsOrTheWholeBatch() public pure {
        assertEq(BatchTree.chunks(1), 1, "1");
        assertEq(BatchTree.chunks(20), 1, "20");
        assertEq(BatchTree.chunks(32), 1, "32");
        assertEq(BatchTree.chunks(33), 2, "33");
        assertEq(BatchTree.chunks(16_384), 512, "16,384");
    }

    function testFuzz_EveryReceiptAndEveryChunkLeadsToTheRoot(uint16 size, uint256 seed) public view {
        uint256 count = bound(size, 1, 200);
        bytes32[][] memory levels = _tree(count, seed);
        bytes32 root = levels[levels.length - 1][0];
        uint256 index = seed % count;
        assertEq(_harness.receiptsRoot(levels[0][index], index, count, _path(levels, 0, index)), root, "receipt");

        uint256 chunkLevels = BatchTree.chunkLevels(count);
        uint256 chunk = index >> chunkLevels;
        uint256 first = chunk << chunkLevels;
        uint256 size_ = count - first < 32 ? count - first : 32;
        bytes32[] memory leaves = new bytes32[](size_);
        for (uint256 i; i < size_; ++i) leaves[i] = levels[0][first + i];
        assertEq(_harness.chunkRoot(leaves, chunk, count, _path(levels, chunkLevels, chunk)), root, "chunk");
    }

    function test_RevertWhen_ThePathIsShorterOrLongerThanTheTreeIsDeep() public {
        vm.expectRevert(abi.encodeWithSelector(BatchTree.BatchTree_PathLength.selector, 1, 2));
        _harness.receiptsRoot(bytes32(0), 0, 3, new bytes32[](1));
        vm.expectRevert(abi.encodeWithSelector(BatchTree.BatchTree_PathLength.selector, 3, 2));
        _harness.receiptsRoot(bytes32(0), 0, 3, new bytes32[](3));
    }

    /// @dev All levels from the leaves up, by the book: leaves past the count are zero.
    function _tree(uint256 count, uint256 seed) private pure returns (bytes32[][] memory levels) {
        uint256 depth = BatchTree.depth(count);
        levels = new bytes32[][](depth + 1);
        levels[0] = new bytes32[](1 << depth);
        for (uint256 i; i < count; ++i) levels[0][i] = keccak256(abi.encode(seed, i));
        for (uint256 level; level < depth; ++level) {
            levels[level + 1] = new bytes32[](levels[level].length / 2);
            for (uint256 i; i < levels[level + 1].length; ++i) {
                levels[level + 1][i] = Hashes.node(levels[level][2 * i], levels[level][2 * i + 1]);
            }
        }
    }

    function _path(
        bytes32[][] memory levels,
        uint256 from,
        uint256 index
    ) private pure returns (bytes32[] memory path) {
        path = new bytes32[](levels.length - 1 - from);
        for (uint256 i; i < path.length; ++i) {
            path[i] = levels[from + i][index ^ 1];
            index >>= 1;
        }
    }
}
