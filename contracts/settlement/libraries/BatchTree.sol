// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Hashes} from "./Hashes.sol";

/// @notice The tree of a batch's receipts: depth `⌈log2 count⌉`, zero past the count (protocol.md §9).
library BatchTree {
    /// @notice Most receipts of a batch.
    uint256 internal constant MAX_COUNT = 16_384;

    /// @notice Levels of a full chunk's subtree: 32 receipts.
    uint256 internal constant CHUNK_LEVELS = 5;

    /// @notice The path is not as long as the levels it has to climb.
    error BatchTree_PathLength(uint256 given, uint256 expected);

    /// @notice Levels between the leaves and the root.
    function depth(uint256 count) internal pure returns (uint256 levels) {
        while ((uint256(1) << levels) < count) ++levels;
    }

    /// @notice Levels of a chunk's subtree.
    function chunkLevels(uint256 count) internal pure returns (uint256) {
        uint256 levels = depth(count);
        return levels < CHUNK_LEVELS ? levels : CHUNK_LEVELS;
    }

    /// @notice Number of chunks that hold a receipt.
    function chunks(uint256 count) internal pure returns (uint256) {
        uint256 levels = chunkLevels(count);
        return (count + (uint256(1) << levels) - 1) >> levels;
    }

    /// @notice Root that `hash` at `index` of its level leads to.
    /// @param levels How many levels lie above; must be the path's length.
    function climb(
        bytes32 hash,
        uint256 index,
        uint256 levels,
        bytes32[] calldata path
    ) internal pure returns (bytes32) {
        if (path.length != levels) revert BatchTree_PathLength(path.length, levels);
        for (uint256 i; i < levels; ++i) {
            hash = index & 1 == 0 ? Hashes.node(hash, path[i]) : Hashes.node(path[i], hash);
            index >>= 1;
        }
        return hash;
    }

    /// @notice Root of an aligned subtree. Overwrites `leaves`.
    /// @param leaves Leaves from the left, at least one; those that lack are zero.
    function subtree(bytes32[] memory leaves, uint256 levels) internal pure returns (bytes32) {
        uint256 width = leaves.length;
        for (uint256 level; level < levels; ++level) {
            uint256 parents = (width + 1) / 2;
            for (uint256 i; i < parents; ++i) {
                uint256 right = 2 * i + 1;
                leaves[i] = Hashes.node(leaves[2 * i], right < width ? leaves[right] : bytes32(0));
            }
            width = parents;
        }
        return leaves[0];
    }
}
