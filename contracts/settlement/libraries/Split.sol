// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Composition} from "../types/Composition.sol";
import {PoolEntry, Receipt} from "../types/Receipt.sol";

/// @notice Who gets what of a price, to the wei (protocol.md §6).
library Split {
    /// @notice What one receipt pays, in wei of OPEN; all of it adds up to the price.
    /// @param treasury To the treasury.
    /// @param operator To the operator.
    /// @param ids Earners with a positive amount, strictly ascending.
    /// @param amounts What each of them gets.
    struct Credits {
        uint256 treasury;
        uint256 operator;
        uint32[] ids;
        uint128[] amounts;
    }

    uint256 private constant MILLION = 1_000_000;

    /// @dev Publisher, 4 adapters, prompt, 12 of context, 12 of training, 4 tools.
    uint256 private constant MOST_CREDITS = 34;

    /// @notice Price by the agent version's terms, never above what the voucher allows.
    function priceOf(Composition memory terms, Receipt memory receipt) internal pure returns (uint256) {
        // Below 2^98: no sum or product can overflow.
        uint256 price =
            uint256(terms.perJob) +
                uint256(receipt.promptTokens) * terms.perPromptToken +
                uint256(receipt.completionTokens) * terms.perCompletionToken;
        uint256 maximum = receipt.voucher.maxPrice;
        return price < maximum ? price : maximum;
    }

    /// @notice Splits the receipt's price by cumulative rounding.
    /// @param terms The agent version's composition; valid as published.
    /// @param receipt A receipt whose pools each sum to 1,000,000 or are empty.
    /// @param sharePpm The protocol share in millionths.
    function credits(
        Composition memory terms,
        Receipt memory receipt,
        uint256 sharePpm
    ) internal pure returns (Credits memory result) {
        uint256 price = receipt.price;
        result.treasury = (price * sharePpm) / MILLION;
        uint256 rest = price - result.treasury;
        result.operator = (rest * terms.split[0]) / MILLION;
        uint256[6] memory amounts = _classAmounts(rest - result.operator, _weights(terms, receipt));

        // Ascending by id: id << 128 | amount. No amount reaches 2^128, for all of them sum to less than the price.
        uint256[] memory list = new uint256[](MOST_CREDITS);
        uint256 size = _insert(list, 0, receipt.voucher.agent, amounts[0]);
        size = _insertAdapters(list, size, terms, amounts[1]);
        size = _insert(list, size, terms.prompt.id, amounts[2]);
        size = _insertPool(list, size, receipt.context, amounts[3]);
        size = _insertPool(list, size, receipt.training, amounts[4]);
        size = _insertPool(list, size, receipt.tools, amounts[5]);

        result.ids = new uint32[](size);
        result.amounts = new uint128[](size);
        for (uint256 i; i < size; ++i) {
            result.ids[i] = uint32(list[i] >> 128);
            result.amounts[i] = uint128(list[i]);
        }
    }

    /// @dev Weights of publisher, adapters, prompt, context, training and tools once empty pools have given theirs away.
    function _weights(
        Composition memory terms,
        Receipt memory receipt
    ) private pure returns (uint256[6] memory weights) {
        for (uint256 k; k < 6; ++k) weights[k] = terms.split[k + 1];
        if (receipt.context.length == 0) _giveAway(weights, terms, 0);
        if (receipt.training.length == 0) _giveAway(weights, terms, 1);
        if (receipt.tools.length == 0) _giveAway(weights, terms, 2);
    }

    /// @dev Whether the class named has a weight is judged on the composition's own weights.
    function _giveAway(uint256[6] memory weights, Composition memory terms, uint256 pool) private pure {
        uint256 class = terms.emptyTo[pool];
        if (class != 0 && terms.split[class] != 0) weights[class - 1] += weights[3 + pool];
        weights[3 + pool] = 0;
    }

    function _classAmounts(uint256 others, uint256[6] memory weights) private pure returns (uint256[6] memory amounts) {
        uint256 total;
        for (uint256 k; k < 6; ++k) total += weights[k];
        if (total == 0) {
            weights[0] = 1;
            total = 1;
        }
        uint256 cumulative;
        uint256 paid;
        for (uint256 k; k < 6; ++k) {
            cumulative += weights[k];
            uint256 upTo = (others * cumulative) / total;
            amounts[k] = upTo - paid;
            paid = upTo;
        }
    }

    function _insertAdapters(
        uint256[] memory list,
        uint256 size,
        Composition memory terms,
        uint256 amount
    ) private pure returns (uint256) {
        uint256 cumulative;
        uint256 paid;
        for (uint256 i; i < terms.adapters.length; ++i) {
            cumulative += terms.adapters[i].sharePpm;
            uint256 upTo = (amount * cumulative) / MILLION;
            size = _insert(list, size, terms.adapters[i].id, upTo - paid);
            paid = upTo;
        }
        return size;
    }

    function _insertPool(
        uint256[] memory list,
        uint256 size,
        PoolEntry[] memory entries,
        uint256 amount
    ) private pure returns (uint256) {
        uint256 cumulative;
        uint256 paid;
        for (uint256 i; i < entries.length; ++i) {
            cumulative += entries[i].ppm;
            uint256 upTo = (amount * cumulative) / MILLION;
            size = _insert(list, size, entries[i].id, upTo - paid);
            paid = upTo;
        }
        return size;
    }

    /// @dev Insertion from the back: cheap, for most ids come in ascending order.
    function _insert(uint256[] memory list, uint256 size, uint256 id, uint256 amount) private pure returns (uint256) {
        if (amount == 0) return size;
        uint256 place = size;
        while (place != 0 && list[place - 1] >> 128 > id) --place;
        if (place != 0 && list[place - 1] >> 128 == id) {
            list[place - 1] += amount;
            return size;
        }
        for (uint256 i = size; i > place; --i) list[i] = list[i - 1];
        list[place] = (id << 128) | amount;
        return size + 1;
    }
}
