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
    function header(BatchHeader memory batch) internal pure returns (bytes32) {
        return
            keccak256(
                bytes.concat(
                    abi.encodePacked(
                        uint8(0x07),
                        batch.operator,
                        batch.sequence,
                        batch.height,
                        batch.parentHash,
                        batch.registryTime,
                        batch.count,
                        batch.receiptsRoot,
                        batch.dataHash
                    ),
                    abi.encodePacked(
                        batch.state.earnersRoot,
                        batch.state.channelsRoot,
                        batch.state.totalSpent,
                        batch.state.treasuryEarned,
                        batch.state.operatorEarned
                    )
                )
            );
    }

    /// @notice Hash of an agent version's composition.
    function composition(bytes memory encoded) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0x08), encoded));
    }
}
