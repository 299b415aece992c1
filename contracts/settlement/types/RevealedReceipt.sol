// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice A receipt brought on-chain in answer to a demand.
/// @param length Length that the leaf commits to, in bytes.
/// @param stateRoot State root after the receipt.
/// @param body The receipt's body.
struct RevealedReceipt {
    uint16 length;
    bytes32 stateRoot;
    bytes body;
}
