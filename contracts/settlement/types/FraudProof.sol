// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "./BatchHeader.sol";
import {ChannelState, State} from "./State.sol";

/// @notice What a receipt leaf commits to, with its path to the receipts root.
/// @param length Committed length of the body in bytes.
/// @param stateRoot State root after the receipt.
/// @param bodyHash Hash of the body.
/// @param proof Siblings from the leaf up, as many as the tree is deep.
struct ReceiptLeaf {
    uint16 length;
    bytes32 stateRoot;
    bytes32 bodyHash;
    bytes32[] proof;
}

/// @notice The first wrong receipt of a batch with everything that the rules ask for, see protocol.md §8.
/// @dev Fields that a verdict does not reach may be left empty.
/// @param header Header of the pending batch.
/// @param index The receipt's index.
/// @param vacant True when the leaf at `index` is zero; `receipt` then carries the path only.
/// @param receipt The leaf at `index`.
/// @param body Preimage of `receipt.bodyHash`.
/// @param previous The leaf at `index - 1`; empty at index 0.
/// @param parent Header of the batch at `header.height - 1`; read at index 0 above height 1 only.
/// @param before State before the receipt.
/// @param composition Preimage of the agent version's composition hash.
/// @param channel State of the receipt's channel before the receipt.
/// @param channelSiblings Hashes of the channel's path to `before.channelsRoot`.
/// @param channelBitmap Which siblings of that path are not zero.
/// @param earnedBefore Wei earned before, for exactly the ids that the receipt credits, ascending by id.
/// @param earnerSiblings Hashes of the multiproof of those ids to `before.earnersRoot`.
/// @param earnerBitmap Which siblings of that multiproof are not zero.
struct FraudProof {
    BatchHeader header;
    uint32 index;
    bool vacant;
    ReceiptLeaf receipt;
    bytes body;
    ReceiptLeaf previous;
    BatchHeader parent;
    State before;
    bytes composition;
    ChannelState channel;
    bytes32[] channelSiblings;
    bytes channelBitmap;
    uint128[] earnedBefore;
    bytes32[] earnerSiblings;
    bytes earnerBitmap;
}
