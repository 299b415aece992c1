// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice A payer's signed permission to charge one job to a channel.
/// @param channel The channel that pays.
/// @param nonce Unique within the channel's window of 256 nonces.
/// @param agent The agent asked.
/// @param version The agent's version.
/// @param requestHash Salted hash of the request.
/// @param maxPrice The most that this job may cost, in wei of OPEN.
/// @param cap The most that the channel may be charged in all, in wei of OPEN.
/// @param expiry Last second at which the job may be served, since 1970.
struct Voucher {
    uint32 channel;
    uint64 nonce;
    uint32 agent;
    uint32 version;
    bytes32 requestHash;
    uint128 maxPrice;
    uint128 cap;
    uint64 expiry;
}
