// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";

/// @notice The state trees by the book: all leaves in memory, level by level, with proofs as protocol.md §7 describes.
library ReferenceTree {
    struct Proof {
        bytes32 root;
        bytes32[] siblings;
        bytes bitmap;
    }

    /// @param indices All leaves' indices, strictly ascending.
    /// @param hashes Their hashes.
    function root(uint32[] memory indices, bytes32[] memory hashes) internal pure returns (bytes32) {
        uint32[] memory none = new uint32[](0);
        return prove(indices, hashes, none).root;
    }

    /// @param subset What to prove, strictly ascending; need not be among the leaves.
    function prove(
        uint32[] memory indices,
        bytes32[] memory hashes,
        uint32[] memory subset
    ) internal pure returns (Proof memory proof) {
        uint256[] memory places = new uint256[](indices.length);
        bytes32[] memory nodes = new bytes32[](indices.length);
        for (uint256 i; i < indices.length; ++i) (places[i], nodes[i]) = (indices[i], hashes[i]);
        uint256[] memory proven = new uint256[](subset.length);
        for (uint256 i; i < subset.length; ++i) proven[i] = subset[i];

        bytes32[] memory siblings = new bytes32[](32 * subset.length);
        bool[] memory bits = new bool[](32 * subset.length);
        uint256 siblingCount;
        uint256 bitCount;
        for (uint256 level; level < 32; ++level) {
            for (uint256 i; i < proven.length; ++i) {
                if (_has(proven, proven[i] ^ 1)) continue;
                bytes32 sibling = _at(places, nodes, proven[i] ^ 1);
                if (sibling != 0) {
                    siblings[siblingCount++] = sibling;
                    bits[bitCount] = true;
                }
                ++bitCount;
            }
            proven = _parents(proven);
            uint256[] memory above = _parents(places);
            bytes32[] memory hashesAbove = new bytes32[](above.length);
            for (uint256 i; i < above.length; ++i) {
                hashesAbove[i] = Hashes.node(_at(places, nodes, above[i] * 2), _at(places, nodes, above[i] * 2 + 1));
            }
            (places, nodes) = (above, hashesAbove);
        }
        proof.root = nodes.length == 0 ? bytes32(0) : nodes[0];
        proof.siblings = new bytes32[](siblingCount);
        for (uint256 i; i < siblingCount; ++i) proof.siblings[i] = siblings[i];
        proof.bitmap = new bytes((bitCount + 7) / 8);
        for (uint256 i; i < bitCount; ++i) {
            if (bits[i]) proof.bitmap[i / 8] |= bytes1(uint8(1 << (i % 8)));
        }
    }

    function _parents(uint256[] memory places) private pure returns (uint256[] memory above) {
        above = new uint256[](places.length);
        uint256 count;
        for (uint256 i; i < places.length; ++i) {
            if (count == 0 || above[count - 1] != places[i] / 2) above[count++] = places[i] / 2;
        }
        assembly ("memory-safe") {
            mstore(above, count)
        }
    }

    function _has(uint256[] memory list, uint256 value) private pure returns (bool) {
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == value) return true;
        }
        return false;
    }

    function _at(uint256[] memory places, bytes32[] memory nodes, uint256 place) private pure returns (bytes32) {
        for (uint256 i; i < places.length; ++i) {
            if (places[i] == place) return nodes[i];
        }
        return 0;
    }
}
