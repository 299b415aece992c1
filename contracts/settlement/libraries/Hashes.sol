// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "../types/BatchHeader.sol";
import {ChannelState, State} from "../types/State.sol";

/// @notice The tagged hashes of protocol.md §2.
/// @dev Every preimage starts with a tag of its own and all have different lengths, so none can stand for another.
library Hashes {
    /// @notice Hash of a tree node; zero over two zero children, so that an absent subtree is zero at every level.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            if or(left, right) {
                // Beyond the free memory pointer, which stays where it is.
                let buffer := mload(0x40)
                mstore8(buffer, 0x01)
                mstore(add(buffer, 1), left)
                mstore(add(buffer, 33), right)
                hash := keccak256(buffer, 65)
            }
        }
    }

    /// @notice Leaf of the earners' tree; zero when nothing is earned.
    function earnerLeaf(uint32 id, uint128 earned) internal pure returns (bytes32 hash) {
        if (earned == 0) return 0;
        uint256 packed = ((0x02 << 160) | (uint256(id) << 128) | earned) << 88;
        assembly ("memory-safe") {
            // 21 bytes in the first word of the scratch space.
            mstore(0, packed)
            hash := keccak256(0, 21)
        }
    }

    /// @notice Leaf of the channels' tree; zero when the channel was never used.
    function channelLeaf(uint32 channel, ChannelState memory state) internal pure returns (bytes32) {
        if (state.spent == 0 && state.capSeen == 0 && state.top == 0 && state.bitmap == 0) return 0;
        return keccak256(abi.encodePacked(uint8(0x03), channel, state.spent, state.capSeen, state.top, state.bitmap));
    }

    /// @notice Leaf of the channels' tree, of a state in calldata.
    function channelLeafOf(uint32 channel, ChannelState calldata state) internal pure returns (bytes32 hash) {
        (uint256 spent, uint256 capSeen, uint256 top, uint256 bitmap) = (
            state.spent,
            state.capSeen,
            state.top,
            state.bitmap
        );
        assembly ("memory-safe") {
            if or(or(spent, capSeen), or(top, bitmap)) {
                // Beyond the free memory pointer. Written from the left: each field covers the zeros that the one before
                // left behind it.
                let buffer := mload(0x40)
                mstore(buffer, or(shl(248, 0x03), shl(216, channel)))
                mstore(add(buffer, 5), shl(128, spent))
                mstore(add(buffer, 21), shl(128, capSeen))
                mstore(add(buffer, 37), shl(192, top))
                mstore(add(buffer, 45), bitmap)
                hash := keccak256(buffer, 77)
            }
        }
    }

    /// @notice Leaf of the receipts' tree; hashed twice, so that no node can be shown as a leaf.
    function receiptLeaf(
        uint32 index,
        uint16 length,
        bytes32 stateRoot_,
        bytes32 bodyHash
    ) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encodePacked(
                    uint8(0x05),
                    keccak256(abi.encodePacked(uint8(0x04), index, length, stateRoot_, bodyHash))
                )
            );
    }

    /// @notice Hash of an operator's state.
    function stateRoot(State memory state) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encodePacked(
                    uint8(0x06),
                    state.earnersRoot,
                    state.channelsRoot,
                    state.totalSpent,
                    state.treasuryEarned,
                    state.operatorEarned
                )
            );
    }

    /// @notice Hash that names a batch.
    function headerOf(BatchHeader calldata batch) internal pure returns (bytes32 hash) {
        // One word of everything before `parentHash`, and one of what stands between it and the roots.
        uint256 head =
            (0x07 << 160) | (uint256(batch.operator) << 128) | (uint256(batch.sequence) << 64) | batch.height;
        uint256 middle = (uint256(batch.registryTime) << 32) | batch.count;
        uint256 totalSpent = batch.state.totalSpent;
        uint256 earned = (uint256(batch.state.treasuryEarned) << 128) | batch.state.operatorEarned;
        (bytes32 parentHash, bytes32 receiptsRoot, bytes32 dataHash) = (
            batch.parentHash,
            batch.receiptsRoot,
            batch.dataHash
        );
        (bytes32 earnersRoot, bytes32 channelsRoot) = (batch.state.earnersRoot, batch.state.channelsRoot);
        assembly ("memory-safe") {
            // Beyond the free memory pointer. Written from the left: each field covers the zeros that the one before
            // left behind it.
            let buffer := mload(0x40)
            mstore(buffer, shl(88, head))
            mstore(add(buffer, 21), parentHash)
            mstore(add(buffer, 53), shl(184, middle))
            mstore(add(buffer, 62), receiptsRoot)
            mstore(add(buffer, 94), dataHash)
            mstore(add(buffer, 126), earnersRoot)
            mstore(add(buffer, 158), channelsRoot)
            mstore(add(buffer, 190), shl(128, totalSpent))
            mstore(add(buffer, 206), earned)
            hash := keccak256(buffer, 238)
        }
    }

    /// @notice Hash of an agent version's composition.
    function composition(bytes memory encoded) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0x08), encoded));
    }
}
