// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {IProtocolParameters} from "./IProtocolParameters.sol";
import {Windows, WindowsLib} from "./Windows.sol";

/// @notice What the parameters are at first.
/// @param protocolSharePpm The protocol's share of a price in millionths.
/// @param minimumBond The least bond in wei of OPEN.
/// @param demandFee The fee for demanding a chunk in wei of the chain's coin.
/// @param treasury Where the treasury's part goes.
struct InitialParameters {
    uint32 protocolSharePpm;
    uint128 minimumBond;
    uint128 demandFee;
    address treasury;
}

/// @title ProtocolParameters
/// @notice What {IProtocolParameters} describes. Its owner is the timelock.
contract ProtocolParameters is IProtocolParameters, Ownable {
    using Checkpoints for Checkpoints.Trace208;

    /// @notice The most that the protocol may take of a price: 5 %.
    uint32 public constant MAX_PROTOCOL_SHARE_PPM = 50_000;

    /// @notice How far ahead a share may be announced. A later one could not be followed by another before it holds.
    uint48 public constant MAX_NOTICE = 365 days;

    /// @notice The highest least bond, in wei of OPEN; above it the protocol could be closed to operators.
    uint256 public constant MAX_MINIMUM_BOND = 10_000_000e18;

    /// @notice The highest demand fee, in wei of the chain's coin; above it nobody could demand what is withheld.
    uint256 public constant MAX_DEMAND_FEE = 0.1 ether;

    /// @notice How old a batch's view of the registries may be.
    uint40 public immutable LAG;

    /// @dev Shares by the time from which they hold; the first from 0 on.
    Checkpoints.Trace208 private _shares;

    /// @dev Two amounts in one slot, read together by whoever posts and demands.
    uint128 private _minimumBond;
    uint128 private _demandFee;

    /// @inheritdoc IProtocolParameters
    address public treasury;

    constructor(address timelock, InitialParameters memory initial, Windows memory windows) Ownable(timelock) {
        WindowsLib.validate(windows);
        LAG = WindowsLib.lag(windows);
        _pushShare(initial.protocolSharePpm, 0);
        _setMinimumBond(initial.minimumBond);
        _setDemandFee(initial.demandFee);
        _setTreasury(initial.treasury);
    }

    /// @inheritdoc IProtocolParameters
    function scheduleProtocolShare(uint32 sharePpm, uint48 effectiveAt) external onlyOwner {
        // Check: known to everybody who posts before it can hold, and not before what was announced last.
        (, uint48 last, ) = _shares.latestCheckpoint();
        uint256 earliest = block.timestamp + LAG + 1;
        if (last > earliest) earliest = last;
        uint256 latest = block.timestamp + MAX_NOTICE;
        if (effectiveAt < earliest || effectiveAt > latest) {
            revert Parameters_InvalidTime(effectiveAt, earliest, latest);
        }

        // Effect.
        _pushShare(sharePpm, effectiveAt);
    }

    /// @inheritdoc IProtocolParameters
    function setMinimumBond(uint256 amount) external onlyOwner {
        _setMinimumBond(amount);
    }

    /// @inheritdoc IProtocolParameters
    function setDemandFee(uint256 amount) external onlyOwner {
        _setDemandFee(amount);
    }

    /// @inheritdoc IProtocolParameters
    function setTreasury(address treasury_) external onlyOwner {
        _setTreasury(treasury_);
    }

    /// @inheritdoc IProtocolParameters
    function protocolShareAt(uint256 time) external view returns (uint32) {
        uint48 key = time > type(uint48).max ? type(uint48).max : uint48(time);
        // Safe cast: no share is above the maximum.
        return uint32(_shares.upperLookupRecent(key));
    }

    /// @inheritdoc IProtocolParameters
    function minimumBond() external view returns (uint256) {
        return _minimumBond;
    }

    /// @inheritdoc IProtocolParameters
    function demandFee() external view returns (uint256) {
        return _demandFee;
    }

    function _pushShare(uint32 sharePpm, uint48 effectiveAt) private {
        if (sharePpm > MAX_PROTOCOL_SHARE_PPM) revert Parameters_ShareTooHigh(sharePpm, MAX_PROTOCOL_SHARE_PPM);
        _shares.push(effectiveAt, sharePpm);
        emit ProtocolShareScheduled(sharePpm, effectiveAt);
    }

    function _setMinimumBond(uint256 amount) private {
        if (amount > MAX_MINIMUM_BOND) revert Parameters_TooHigh(amount, MAX_MINIMUM_BOND);
        // Safe cast: not above the maximum.
        _minimumBond = uint128(amount);
        emit MinimumBondSet(amount);
    }

    function _setDemandFee(uint256 amount) private {
        if (amount > MAX_DEMAND_FEE) revert Parameters_TooHigh(amount, MAX_DEMAND_FEE);
        // Safe cast: not above the maximum.
        _demandFee = uint128(amount);
        emit DemandFeeSet(amount);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert Parameters_InvalidTreasury();
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }
}
