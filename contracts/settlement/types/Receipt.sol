// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Voucher} from "./Voucher.sol";

/// @notice One earner's share of a pool.
/// @param id The earner.
/// @param ppm Its share of the pool in millionths.
/// @param via What lets it earn: an index into the composition, see protocol.md §5.
struct PoolEntry {
    uint32 id;
    uint24 ppm;
    uint8 via;
}

/// @notice A decoded receipt body.
struct Receipt {
    Voucher voucher;
    bytes32 r;
    bytes32 s;
    uint8 v;
    bytes32 responseHash;
    bytes32 traceHash;
    uint32 promptTokens;
    uint32 completionTokens;
    uint96 price;
    PoolEntry[] context;
    PoolEntry[] training;
    PoolEntry[] tools;
}
