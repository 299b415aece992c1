// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice The windows of the protocol, all in seconds. They are immutables wherever they are used: a window that could
/// change could turn an honest receipt into a lie.
/// @param voucherLife L: longest life of a voucher.
/// @param posting P: how long after a voucher's expiry its receipt may be posted.
/// @param challenge W: from submission, how long chunks may be demanded and, at least, lies be proven.
/// @param reveal R: how long the operator has to answer a demand.
/// @param check C: how long a revealed chunk may be checked before the batch can become final.
/// @param collect K: from finality, how long an operator may collect before its bond answers for contributors.
/// @param thaw How long a payer's withdrawal from a channel is announced ahead.
/// @param unbonding How long an operator's withdrawal of its bond is announced ahead.
struct Windows {
    uint40 voucherLife;
    uint40 posting;
    uint40 challenge;
    uint40 reveal;
    uint40 check;
    uint40 collect;
    uint40 thaw;
    uint40 unbonding;
}

/// @title WindowsLib
/// @notice The inequalities between the windows, checked where windows are fixed, and what follows from them.
library WindowsLib {
    /// @notice The longest voucher life that a deployment may choose.
    uint40 internal constant MAX_VOUCHER_LIFE = 1 hours;

    /// @notice No single window is longer; it keeps every sum of times far below 2^40.
    uint40 internal constant MAX_WINDOW = 365 days;

    /// @notice Room for blocks that come late, beyond the sum of the windows that thaw and unbonding outlast.
    uint40 internal constant MARGIN = 1 hours;

    /// @notice A window is zero or longer than its maximum.
    /// @param index Position of the window in the struct.
    error Windows_OutOfRange(uint256 index, uint40 window, uint40 maximum);

    /// @notice A payer could withdraw before what it signed is collected.
    error Windows_ThawTooShort(uint40 thaw, uint40 minimum);

    /// @notice An operator could withdraw its bond before its last batch is proven or its debts are drawn.
    error Windows_UnbondingTooShort(uint40 unbonding, uint40 minimum);

    /// @notice Reverts unless every window is in range and thaw and unbonding outlast what they must.
    function validate(Windows memory w) internal pure {
        _inRange(0, w.voucherLife, MAX_VOUCHER_LIFE);
        _inRange(1, w.posting, MAX_WINDOW);
        _inRange(2, w.challenge, MAX_WINDOW);
        _inRange(3, w.reveal, MAX_WINDOW);
        _inRange(4, w.check, MAX_WINDOW);
        _inRange(5, w.collect, MAX_WINDOW);
        _inRange(6, w.thaw, 10 * MAX_WINDOW);
        _inRange(7, w.unbonding, 10 * MAX_WINDOW);

        uint40 minimum = w.posting + w.challenge + w.reveal + w.check + w.collect + MARGIN;
        if (w.unbonding < minimum) revert Windows_UnbondingTooShort(w.unbonding, minimum);
        minimum += w.voucherLife;
        if (w.thaw < minimum) revert Windows_ThawTooShort(w.thaw, minimum);
    }

    /// @notice LAG, how old a batch's view of the registries may be: a voucher signed at t may be served until t + L and
    /// its receipt posted P after that, so a shorter lag would make lies of honest receipts.
    function lag(Windows memory w) internal pure returns (uint40) {
        return w.posting + w.voucherLife;
    }

    /// @notice After so long a posted batch is final and can have been collected, whatever was demanded.
    function settling(Windows memory w) internal pure returns (uint40) {
        return w.challenge + w.reveal + w.check + w.collect;
    }

    /// @notice What the delay of the timelock over the parameters must exceed: a payer who dislikes a change has time to
    /// withdraw before it holds.
    function timelockFloor(Windows memory w) internal pure returns (uint40) {
        return w.thaw + w.challenge;
    }

    function _inRange(uint256 index, uint40 window, uint40 maximum) private pure {
        if (window == 0 || window > maximum) revert Windows_OutOfRange(index, window, maximum);
    }
}
