// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Windows, WindowsLib} from "../../../contracts/settlement/Windows.sol";
import {TestBase} from "../TestBase.sol";

contract WindowsTest is TestBase {
    function validate(Windows memory w) external pure {
        WindowsLib.validate(w);
    }

    function _main() private pure returns (Windows memory) {
        return Windows(1 hours, 24 hours, 24 hours, 12 hours, 12 hours, 24 hours, 98 hours, 97 hours);
    }

    function test_TheMainNetworksWindowsAreTheShortestThatHold() public {
        Windows memory w = _main();
        this.validate(w);
        assertEq(WindowsLib.lag(w), 25 hours, "lag");
        assertEq(WindowsLib.timelockFloor(w), 122 hours, "timelock");

        w.thaw -= 1;
        vm.expectRevert(abi.encodeWithSelector(WindowsLib.Windows_ThawTooShort.selector, 98 hours - 1, 98 hours));
        this.validate(w);
        w = _main();
        w.unbonding -= 1;
        vm.expectRevert(abi.encodeWithSelector(WindowsLib.Windows_UnbondingTooShort.selector, 97 hours - 1, 97 hours));
        this.validate(w);
    }

    function test_RevertWhen_AWindowIsZeroOrTooLong() public {
        uint40[8] memory maxima = [
            uint40(1 hours),
            365 days,
            365 days,
            365 days,
            365 days,
            365 days,
            3650 days,
            3650 days
        ];
        for (uint256 i; i < 8; ++i) {
            Windows memory w = _main();
            _set(w, i, 0);
            vm.expectRevert(abi.encodeWithSelector(WindowsLib.Windows_OutOfRange.selector, i, 0, maxima[i]));
            this.validate(w);
            _set(w, i, maxima[i] + 1);
            vm.expectRevert(
                abi.encodeWithSelector(WindowsLib.Windows_OutOfRange.selector, i, maxima[i] + 1, maxima[i])
            );
            this.validate(w);
        }
    }

    /// @dev Whatever is accepted outlasts everything that it must, without overflow.
    function testFuzz_WhatIsAcceptedHolds(Windows memory w) public view {
        try this.validate(w) {
            uint256 sum = uint256(w.posting) + w.challenge + w.reveal + w.check + w.collect;
            assertTrue(w.unbonding >= sum + 1 hours, "unbonding");
            assertTrue(w.thaw >= sum + w.voucherLife + 1 hours, "thaw");
        } catch {}
    }

    function testFuzz_EveryDeploymentInRangeIsAccepted(uint40[6] memory given) public view {
        Windows memory w;
        w.voucherLife = uint40(bound(given[0], 1, 1 hours));
        w.posting = uint40(bound(given[1], 1, 365 days));
        w.challenge = uint40(bound(given[2], 1, 365 days));
        w.reveal = uint40(bound(given[3], 1, 365 days));
        w.check = uint40(bound(given[4], 1, 365 days));
        w.collect = uint40(bound(given[5], 1, 365 days));
        w.unbonding = w.posting + w.challenge + w.reveal + w.check + w.collect + 1 hours;
        w.thaw = w.unbonding + w.voucherLife;
        this.validate(w);
    }

    function _set(Windows memory w, uint256 index, uint40 value) private pure {
        assembly ("memory-safe") {
            mstore(add(w, mul(index, 32)), value)
        }
    }
}
