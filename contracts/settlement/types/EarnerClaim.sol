// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Payee} from "../../registries/PayeesLib.sol";
import {BatchHeader} from "./BatchHeader.sol";

/// @notice A claim for earners of one operator against its newest final batch.
/// @param header Header of that batch.
/// @param ids The earners, strictly ascending.
/// @param earned What each has earned in all, as the header's earners root says.
/// @param siblings Hashes of the multiproof of the ids.
/// @param bitmap Which siblings of the multiproof are not zero.
/// @param payees For each id the list of payees in force; empty when the token's owner alone is paid.
struct EarnerClaim {
    BatchHeader header;
    uint32[] ids;
    uint128[] earned;
    bytes32[] siblings;
    bytes bitmap;
    Payee[][] payees;
}
