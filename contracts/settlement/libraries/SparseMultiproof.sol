// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice Multiproofs of the state trees: binary, depth 32, zero where nothing is (protocol.md §7).
library SparseMultiproof {
    /// @notice The arrays differ in length, or are empty.
    error SparseMultiproof_LengthMismatch(uint256 ids, uint256 before, uint256 afterwards);

    /// @notice The id at this place is not above the one before it.
    error SparseMultiproof_Unsorted(uint256 place);

    /// @notice The walk used another number of hashes and bits than the proof holds.
    error SparseMultiproof_UnusedWitness(uint256 siblingsUsed, uint256 siblings, uint256 bitsUsed, uint256 bitmapBytes);

    /// @notice Root of the tree that holds `leaves` at `ids`.
    /// @dev Overwrites `ids` and `leaves`.
    /// @param ids Leaf indices, strictly ascending, at least one.
    /// @param leaves Leaf hashes.
    /// @param siblings Hashes from the leaves up, ascending within a level.
    /// @param bitmap Bit j, lowest bit of a byte first: the j-th sibling is the next hash, otherwise zero.
    function root(
        uint32[] memory ids,
        bytes32[] memory leaves,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) internal pure returns (bytes32 root_) {
        (root_, ) = _walk(ids, leaves, leaves, siblings, bitmap);
    }

    /// @notice Roots of the tree before and after the leaves at `ids` change, in one walk.
    /// @dev Overwrites all three arrays.
    /// @param ids Leaf indices, strictly ascending, at least one.
    /// @param before Leaf hashes before.
    /// @param afterwards Leaf hashes after.
    /// @param siblings Hashes from the leaves up, ascending within a level.
    /// @param bitmap Bit j, lowest bit of a byte first: the j-th sibling is the next hash, otherwise zero.
    function roots(
        uint32[] memory ids,
        bytes32[] memory before,
        bytes32[] memory afterwards,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) internal pure returns (bytes32 rootBefore, bytes32 rootAfter) {
        return _walk(ids, before, afterwards, siblings, bitmap);
    }

    /// @dev `afterwards` may be `before` itself: the second root is then the first and costs nothing.
    function _walk(
        uint32[] memory ids,
        bytes32[] memory before,
        bytes32[] memory afterwards,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) private pure returns (bytes32 rootBefore, bytes32 rootAfter) {
        uint256 count = ids.length;
        if (count == 0 || before.length != count || afterwards.length != count) {
            revert SparseMultiproof_LengthMismatch(count, before.length, afterwards.length);
        }
        for (uint256 i = 1; i < count; ++i) {
            if (ids[i] <= ids[i - 1]) revert SparseMultiproof_Unsorted(i);
        }
        uint256 siblingsUsed;
        uint256 bitsUsed;
        assembly ("memory-safe") {
            function nodeHash(buffer, left, right) -> hash {
                if or(left, right) {
                    mstore(add(buffer, 1), left)
                    mstore(add(buffer, 33), right)
                    hash := keccak256(buffer, 65)
                }
            }
            // 65 bytes beyond the free memory pointer; nothing is allocated while the walk runs.
            let buffer := mload(0x40)
            mstore8(buffer, 0x01)
            let single := eq(before, afterwards)
            // Offsets from an array's length word to an element. A level is written over the one below it: the place
            // written never passes the place read.
            let end := mul(add(count, 1), 32)
            for {
                let level := 0
            } lt(level, 32) {
                level := add(level, 1)
            } {
                let read := 32
                let write := 32
                for {} lt(read, end) {} {
                    let id := mload(add(ids, read))
                    let leftBefore := mload(add(before, read))
                    let leftAfter := mload(add(afterwards, read))
                    let rightBefore := 0
                    let rightAfter := 0
                    read := add(read, 32)
                    let paired := 0
                    if lt(read, end) {
                        paired := eq(xor(mload(add(ids, read)), id), 1)
                    }
                    switch paired
                    case 1 {
                        rightBefore := mload(add(before, read))
                        rightAfter := mload(add(afterwards, read))
                        read := add(read, 32)
                    }
                    default {
                        // Reads past the proof's end are caught below by the count of what was used.
                        let sibling := 0
                        if and(shr(and(bitsUsed, 7), byte(0, calldataload(add(bitmap.offset, shr(3, bitsUsed))))), 1) {
                            sibling := calldataload(add(siblings.offset, shl(5, siblingsUsed)))
                            siblingsUsed := add(siblingsUsed, 1)
                        }
                        bitsUsed := add(bitsUsed, 1)
                        switch and(id, 1)
                        case 0 {
                            rightBefore := sibling
                            rightAfter := sibling
                        }
                        default {
                            rightBefore := leftBefore
                            rightAfter := leftAfter
                            leftBefore := sibling
                            leftAfter := sibling
                        }
                    }
                    mstore(add(ids, write), shr(1, id))
                    mstore(add(before, write), nodeHash(buffer, leftBefore, rightBefore))
                    if iszero(single) {
                        mstore(add(afterwards, write), nodeHash(buffer, leftAfter, rightAfter))
                    }
                    write := add(write, 32)
                }
                end := write
            }
            rootBefore := mload(add(before, 32))
            rootAfter := mload(add(afterwards, 32))
        }
        if (siblingsUsed != siblings.length || (bitsUsed + 7) / 8 != bitmap.length) {
            revert SparseMultiproof_UnusedWitness(siblingsUsed, siblings.length, bitsUsed, bitmap.length);
        }
    }
}
