// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Windows, WindowsLib} from "../settlement/Windows.sol";

/// @title ProtocolTimelock
/// @notice The owner of the parameters. Whatever its own delay is set to, it never acts faster than a payer can leave.
contract ProtocolTimelock is TimelockController {
    /// @notice The shortest delay, in seconds, which no proposal can lower.
    uint256 public immutable FLOOR;

    /// @notice The delay given is not above the floor.
    error Timelock_DelayTooShort(uint256 delay, uint256 floor);

    /// @param delay Delay of proposals in seconds; more than thaw and challenge window together.
    /// @param proposers Who may propose and cancel.
    /// @param executors Who may execute; the zero address for anyone.
    constructor(
        uint256 delay,
        address[] memory proposers,
        address[] memory executors,
        Windows memory windows
    ) TimelockController(delay, proposers, executors, address(0)) {
        WindowsLib.validate(windows);
        FLOOR = WindowsLib.timelockFloor(windows) + 1;
        if (delay < FLOOR) revert Timelock_DelayTooShort(delay, FLOOR);
    }

    /// @notice The delay of proposals in seconds.
    function getMinDelay() public view override returns (uint256) {
        uint256 delay = super.getMinDelay();
        return delay < FLOOR ? FLOOR : delay;
    }
}
