// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

/// @title IOpenToken
/// @notice What the protocol needs of OPEN: ERC-20, approval by signature, and burning of one's own.
interface IOpenToken is IERC20, IERC20Permit {
    /// @notice Destroys `amount` of the caller's tokens.
    function burn(uint256 amount) external;
}
