// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice The other side of a multiproof: builds the tree of depth 32 over given leaves, and the proof for some of them.
/// Written from protocol.md §7, level by level, and not from the verifier.
library SparseTree {
    struct Proof {
        bytes32 root;
        bytes32[] siblings;
        bytes bitmap;
    }

    struct Node {
        uint32 index;
        bytes32 hash;
        bool isTarget;
    }

    /// @param ids Strictly ascending.
    /// @param isTarget Which of the leaves the proof is for.
    function prove(
        uint32[] memory ids,
        bytes32[] memory leaves,
        bool[] memory isTarget
    ) internal pure returns (Proof memory proof) {
        Node[] memory level = new Node[](ids.length);
        for (uint256 i; i < ids.length; ++i) level[i] = Node(ids[i], leaves[i], isTarget[i]);
        bytes32[] memory hashes = new bytes32[](32 * ids.length);
        bytes memory bits = new bytes(4 * ids.length);
        uint256[2] memory used;
        for (uint256 depth; depth < 32; ++depth) level = _rise(level, hashes, bits, used);

        proof.root = level.length == 0 ? bytes32(0) : level[0].hash;
        proof.siblings = new bytes32[](used[0]);
        for (uint256 i; i < used[0]; ++i) proof.siblings[i] = hashes[i];
        proof.bitmap = new bytes((used[1] + 7) / 8);
        for (uint256 i; i < proof.bitmap.length; ++i) proof.bitmap[i] = bits[i];
    }

    function _rise(
        Node[] memory level,
        bytes32[] memory hashes,
        bytes memory bits,
        uint256[2] memory used
    ) private pure returns (Node[] memory above) {
        above = new Node[](level.length);
        uint256 count;
        for (uint256 i; i < level.length; ++i) {
            Node memory node = level[i];
            bool hasPartner = i + 1 < level.length && level[i + 1].index == (node.index ^ 1) && node.index % 2 == 0;
            Node memory partner = hasPartner ? level[++i] : Node(node.index ^ 1, 0, false);
            if (node.isTarget && !partner.isTarget) _say(partner.hash, hashes, bits, used);
            if (!node.isTarget && partner.isTarget) _say(node.hash, hashes, bits, used);
            (bytes32 left, bytes32 right) = node.index % 2 == 0 ? (node.hash, partner.hash) : (partner.hash, node.hash);
            above[count++] = Node(node.index / 2, _hash(left, right), node.isTarget || partner.isTarget);
        }
        assembly ("memory-safe") {
            mstore(above, count)
        }
    }

    function _say(bytes32 sibling, bytes32[] memory hashes, bytes memory bits, uint256[2] memory used) private pure {
        if (sibling != 0) {
            hashes[used[0]++] = sibling;
            bits[used[1] / 8] |= bytes1(uint8(1 << (used[1] % 8)));
        }
        ++used[1];
    }

    function _hash(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return left == 0 && right == 0 ? bytes32(0) : keccak256(abi.encodePacked(uint8(1), left, right));
    }
}
