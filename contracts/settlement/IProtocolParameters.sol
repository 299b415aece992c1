// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title IProtocolParameters
/// @notice What may change, and only by the timelock: the protocol's share of a price, the least bond, the fee for
/// demanding a chunk, and where the treasury's part goes.
interface IProtocolParameters {
    /// @notice The protocol's share is `sharePpm` from `effectiveAt` on.
    event ProtocolShareScheduled(uint32 sharePpm, uint48 indexed effectiveAt);

    /// @notice An operator needs a bond of at least `amount` wei of OPEN to post.
    event MinimumBondSet(uint256 amount);

    /// @notice A demand costs `amount` wei of the chain's coin beyond the gas of the answer.
    event DemandFeeSet(uint256 amount);

    /// @notice The treasury's part goes to `treasury`.
    event TreasurySet(address indexed treasury);

    /// @notice The share is above the most that the protocol may take.
    error Parameters_ShareTooHigh(uint256 sharePpm, uint256 maximum);

    /// @notice A new share must be announced so that it holds after `earliest`, and not after `latest`.
    error Parameters_InvalidTime(uint256 effectiveAt, uint256 earliest, uint256 latest);

    /// @notice The value is above its maximum.
    error Parameters_TooHigh(uint256 value, uint256 maximum);

    /// @notice The treasury must not be the zero address.
    error Parameters_InvalidTreasury();

    /// @notice Announces a new protocol share that holds from `effectiveAt` on: further ahead than the registry lag, so
    /// that every batch whose registry time could see it is posted by who could know it. Announcing for the time of the
    /// last announcement replaces it.
    function scheduleProtocolShare(uint32 sharePpm, uint48 effectiveAt) external;

    /// @notice Sets the least bond in wei of OPEN.
    function setMinimumBond(uint256 amount) external;

    /// @notice Sets the fee for demanding a chunk, in wei of the chain's coin.
    function setDemandFee(uint256 amount) external;

    /// @notice Sets where the treasury's part goes.
    function setTreasury(address treasury) external;

    /// @notice The protocol's share, in millionths, that held or will hold at `time`. Never reverts.
    function protocolShareAt(uint256 time) external view returns (uint32 sharePpm);

    /// @notice The least bond in wei of OPEN.
    function minimumBond() external view returns (uint256);

    /// @notice The fee for demanding a chunk, in wei of the chain's coin.
    function demandFee() external view returns (uint256);

    /// @notice Where the treasury's part goes.
    function treasury() external view returns (address);
}
