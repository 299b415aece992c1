// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {NonceWindow} from "../../../contracts/settlement/libraries/NonceWindow.sol";
import {TestBase} from "../TestBase.sol";

contract NonceWindowTest is TestBase {
    mapping(uint64 nonce => bool) private _used;

    function testFuzz_ANonceIsFreshExactlyOnceAndOnlyWithinTheWindow(uint64 start, uint64[40] memory steps) public {
        start = uint64(bound(start, 0, type(uint64).max - 100_000));
        uint64 top;
        uint256 bitmap;
        uint64 highest;
        for (uint256 i; i < steps.length; ++i) {
            // Mostly within reach of the window, now and then far ahead.
            uint64 nonce = start + (steps[i] % 7 == 0 ? steps[i] % 90_000 : steps[i] % 300);
            bool expected = nonce > highest || (highest - nonce < 256 && !_used[nonce]);
            bool fresh;
            uint64 topBefore = top;
            uint256 bitmapBefore = bitmap;
            (fresh, top, bitmap) = NonceWindow.use(top, bitmap, nonce);
            assertTrue(fresh == expected, "fresh");
            if (!fresh) {
                assertEq(top, topBefore, "top stays");
                assertEq(bitmap, bitmapBefore, "bitmap stays");
                continue;
            }
            _used[nonce] = true;
            if (nonce > highest) highest = nonce;
            assertEq(top, highest, "top");
            assertTrue((bitmap >> (top - nonce)) & 1 == 1, "bit");
        }
    }

    function test_TheFirstNonceMayBeZeroAndOnlyOnce() public pure {
        (bool fresh, uint64 top, uint256 bitmap) = NonceWindow.use(0, 0, 0);
        assertTrue(fresh && top == 0 && bitmap == 1, "nonce 0");
        (fresh, , ) = NonceWindow.use(top, bitmap, 0);
        assertFalse(fresh, "again");
    }

    function test_TheWindowEndsAfter255Below() public pure {
        (bool fresh, , uint256 bitmap) = NonceWindow.use(1_000, 1, 745);
        assertTrue(fresh && bitmap == (1 << 255) | 1, "255 below");
        (fresh, , ) = NonceWindow.use(1_000, 1, 744);
        assertFalse(fresh, "256 below");
    }

    function test_AJumpBeyondTheWindowForgetsWhatWasUsed() public pure {
        (bool fresh, uint64 top, uint256 bitmap) = NonceWindow.use(9, type(uint256).max, type(uint64).max);
        assertTrue(fresh && top == type(uint64).max && bitmap == 1, "far jump");
        (, , bitmap) = NonceWindow.use(9, type(uint256).max, 264);
        assertEq(bitmap, (1 << 255) | 1, "jump of 255");
        (, , bitmap) = NonceWindow.use(9, type(uint256).max, 265);
        assertEq(bitmap, 1, "jump of 256");
    }
}
