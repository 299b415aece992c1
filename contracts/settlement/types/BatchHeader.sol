// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {State} from "./State.sol";

/// @notice All that is on-chain about a batch of receipts.
/// @param operator Whose batch it is.
/// @param sequence Never used again by this operator, whatever falls.
/// @param height Position in the operator's chain of batches, from 1.
/// @param parentHash Header hash of the batch at `height - 1`; zero at height 1.
/// @param registryTime The time whose view of the registries the receipts are judged by.
/// @param count Number of receipts.
/// @param receiptsRoot Root of the tree of receipt leaves.
/// @param dataHash Hash of the published data.
/// @param state State after the last receipt.
struct BatchHeader {
    uint32 operator;
    uint64 sequence;
    uint64 height;
    bytes32 parentHash;
    uint40 registryTime;
    uint32 count;
    bytes32 receiptsRoot;
    bytes32 dataHash;
    State state;
}
