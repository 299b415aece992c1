// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title ITestFaucet
/// @notice Gives OPEN away on test networks: a fixed amount per address and day, as long as it holds any.
interface ITestFaucet {
    /// @notice `to` received `amount` and can receive again from `nextAt` on.
    event Dripped(address indexed to, uint256 amount, uint256 nextAt);

    /// @notice A faucet has no place on a main network.
    error Faucet_MainNetwork(uint256 chainId);

    /// @notice The amount must not be zero.
    error Faucet_ZeroAmount();

    /// @notice `to` received its amount of the day; it can receive again at `nextAt`.
    error Faucet_TooEarly(address to, uint256 nextAt);

    /// @notice The faucet holds less than it gives.
    error Faucet_Empty(uint256 balance, uint256 amount);

    /// @notice Sends the fixed amount to `to`. By anyone.
    function drip(address to) external;

    /// @notice From when on `account` can receive; zero when it never has.
    function nextDripAt(address account) external view returns (uint256);

    /// @notice What is given away.
    function TOKEN() external view returns (IERC20);

    /// @notice How much an address receives a day, in wei of OPEN.
    function AMOUNT() external view returns (uint256);
}
