// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice What one operator's receipts amount to.
/// @param earnersRoot Root of the tree from earner id to cumulative earned wei of OPEN.
/// @param channelsRoot Root of the tree from channel to `ChannelState`.
/// @param totalSpent Cumulative wei of OPEN charged over all channels.
/// @param treasuryEarned Cumulative wei of OPEN earned by the treasury.
/// @param operatorEarned Cumulative wei of OPEN earned by the operator.
struct State {
    bytes32 earnersRoot;
    bytes32 channelsRoot;
    uint128 totalSpent;
    uint128 treasuryEarned;
    uint128 operatorEarned;
}

/// @notice What one channel has spent, and which nonces are used.
/// @param spent Cumulative wei of OPEN charged.
/// @param capSeen Highest cap of all vouchers so far, in wei of OPEN.
/// @param top Highest nonce so far.
/// @param bitmap Bit k says that nonce `top - k` is used.
struct ChannelState {
    uint128 spent;
    uint128 capSeen;
    uint64 top;
    uint256 bitmap;
}
