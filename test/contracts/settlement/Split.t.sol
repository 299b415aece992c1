// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Split} from "../../../contracts/settlement/libraries/Split.sol";
import {ComposedAdapter, Composition, Pinned} from "../../../contracts/settlement/types/Composition.sol";
import {PoolEntry, Receipt} from "../../../contracts/settlement/types/Receipt.sol";
import {TestBase} from "../TestBase.sol";

contract SplitTest is TestBase {
    function testFuzz_ThePartsAddUpToThePriceWhateverIsEmpty(uint256 seed, uint96 price, uint16 share) public pure {
        (Composition memory terms, Receipt memory receipt) = _random(seed, price);
        Split.Credits memory credits = Split.credits(terms, receipt, bound(share, 0, 50_000));
        uint256 sum = credits.treasury + credits.operator;
        for (uint256 i; i < credits.ids.length; ++i) {
            assertTrue(i == 0 || credits.ids[i] > credits.ids[i - 1], "ascending");
            assertTrue(credits.amounts[i] != 0, "positive");
            sum += credits.amounts[i];
        }
        assertEq(sum, price, "sum");
    }

    function testFuzz_TheOperatorNeverGainsByMeasuringLess(uint256 seed, uint96 price, uint16 share) public pure {
        (Composition memory terms, Receipt memory receipt) = _random(seed, price);
        uint256 sharePpm = bound(share, 0, 50_000);
        uint256 measured = Split.credits(terms, receipt, sharePpm).operator;
        receipt.context = new PoolEntry[](0);
        receipt.training = new PoolEntry[](0);
        receipt.tools = new PoolEntry[](0);
        assertEq(Split.credits(terms, receipt, sharePpm).operator, measured, "operator");
    }

    function test_AnEmptyPoolGoesToTheClassThatItNames() public pure {
        (Composition memory terms, Receipt memory receipt) = _plain(1_000);
        // Nothing for treasury or operator: publisher 200, adapters 300, context 500.
        terms.emptyTo[0] = 2;
        Split.Credits memory credits = Split.credits(terms, receipt, 0);
        assertEq(credits.amounts[0], 200, "publisher");
        assertEq(credits.amounts[1], 800, "adapters");
        // Pro rata, and the same where the class named has no share of its own.
        terms.emptyTo[0] = 0;
        credits = Split.credits(terms, receipt, 0);
        assertEq(credits.amounts[0], 400, "publisher");
        assertEq(credits.amounts[1], 600, "adapters");
        terms.emptyTo[0] = 3;
        credits = Split.credits(terms, receipt, 0);
        assertEq(credits.amounts[0], 400, "publisher");
    }

    function test_ThePublisherGetsWhatNobodyElseCan() public pure {
        (Composition memory terms, Receipt memory receipt) = _plain(1_000);
        uint32[7] memory contextOnly;
        contextOnly[4] = 1_000_000;
        terms.split = contextOnly;
        Split.Credits memory credits = Split.credits(terms, receipt, 0);
        assertEq(credits.ids.length, 1, "one earner");
        assertEq(credits.ids[0], receipt.voucher.agent, "publisher");
        assertEq(credits.amounts[0], 1_000, "all");
    }

    function test_OneEarnerInSeveralPoolsIsCreditedOnce() public pure {
        (Composition memory terms, Receipt memory receipt) = _plain(1_000);
        receipt.context = new PoolEntry[](2);
        receipt.context[0] = PoolEntry(terms.adapters[0].id, 400_000, 0);
        receipt.context[1] = PoolEntry(900, 600_000, 0);
        Split.Credits memory credits = Split.credits(terms, receipt, 0);
        assertEq(credits.ids.length, 3, "earners");
        assertEq(credits.amounts[1], 300 + 200, "adapter and context");
        assertEq(credits.amounts[2], 300, "context");
    }

    function test_ThePriceIsNeverAboveTheVouchersMaximum() public pure {
        (Composition memory terms, Receipt memory receipt) = _plain(0);
        terms.perJob = type(uint96).max;
        terms.perPromptToken = type(uint64).max;
        terms.perCompletionToken = type(uint64).max;
        receipt.promptTokens = type(uint32).max;
        receipt.completionTokens = type(uint32).max;
        receipt.voucher.maxPrice = type(uint128).max;
        uint256 expected = uint256(type(uint96).max) + 2 * uint256(type(uint64).max) * type(uint32).max;
        assertEq(Split.priceOf(terms, receipt), expected, "without overflow");
        receipt.voucher.maxPrice = 5;
        assertEq(Split.priceOf(terms, receipt), 5, "maximum");
    }

    function _plain(uint96 price) private pure returns (Composition memory terms, Receipt memory receipt) {
        (terms.split[1], terms.split[2], terms.split[4]) = (200_000, 300_000, 500_000);
        terms.adapters = new ComposedAdapter[](1);
        terms.adapters[0] = ComposedAdapter(8, 1, 1_000_000, 1_000_000);
        terms.dataNets = new Pinned[](1);
        receipt.voucher.agent = 7;
        receipt.price = price;
    }

    /// @dev Any split, any members, pools that are empty or sum to a million; ids that meet in several classes.
    function _random(
        uint256 seed,
        uint96 price
    ) private pure returns (Composition memory terms, Receipt memory receipt) {
        uint256 dice = uint256(keccak256(abi.encode(seed)));
        uint256[] memory split = _parts(dice, 7);
        for (uint256 i; i < 7; ++i) terms.split[i] = uint32(split[i]);
        for (uint256 i; i < 3; ++i) terms.emptyTo[i] = uint8((dice >> (8 * i)) % 4);
        uint256[] memory shares = _parts(dice >> 8, 1 + ((dice >> 32) % 4));
        terms.adapters = new ComposedAdapter[](shares.length);
        for (uint256 i; i < shares.length; ++i) {
            terms.adapters[i] = ComposedAdapter(uint32(1 + ((dice >> (16 * i)) % 20)), 1, uint32(shares[i]), 0);
        }
        terms.prompt = Pinned(uint32(1 + (dice % 20)), 1);
        receipt.voucher.agent = uint32(1 + ((dice >> 40) % 20));
        receipt.price = price;
        receipt.context = _pool(dice >> 48, (dice >> 48) % 13);
        receipt.training = _pool(dice >> 64, (dice >> 64) % 13);
        receipt.tools = _pool(dice >> 80, (dice >> 80) % 5);
    }

    function _pool(uint256 dice, uint256 count) private pure returns (PoolEntry[] memory entries) {
        entries = new PoolEntry[](count);
        if (count == 0) return entries;
        uint256[] memory parts = _parts(dice, count);
        uint256 id;
        for (uint256 i; i < count; ++i) {
            id += 1 + ((dice >> i) % 3);
            entries[i] = PoolEntry(uint32(id), uint24(parts[i]), 0);
        }
    }

    /// @dev Numbers that sum to a million; some of them may be zero.
    function _parts(uint256 dice, uint256 count) private pure returns (uint256[] memory parts) {
        parts = new uint256[](count);
        uint256 left = 1_000_000;
        for (uint256 i; i + 1 < count; ++i) {
            parts[i] = uint256(keccak256(abi.encode(dice, i))) % (left + 1);
            if ((dice >> i) & 3 == 0) parts[i] = 0;
            left -= parts[i];
        }
        parts[count - 1] = left;
    }
}
