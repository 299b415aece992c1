// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ITestFaucet} from "./ITestFaucet.sol";

/// @title TestFaucet
/// @notice What {ITestFaucet} describes.
contract TestFaucet is ITestFaucet {
    using SafeERC20 for IERC20;

    /// @inheritdoc ITestFaucet
    IERC20 public immutable TOKEN;

    /// @inheritdoc ITestFaucet
    uint256 public immutable AMOUNT;

    /// @inheritdoc ITestFaucet
    mapping(address account => uint256) public nextDripAt;

    /// @param token What is given away.
    /// @param amount How much an address receives a day, in wei.
    constructor(IERC20 token, uint256 amount) {
        // Check: Ethereum, OP Mainnet, Base, Arbitrum One and OpenLedger are where OPEN is worth something.
        uint256 id = block.chainid;
        if (id == 1 || id == 10 || id == 8453 || id == 42_161 || id == 1612) revert Faucet_MainNetwork(id);
        if (amount == 0) revert Faucet_ZeroAmount();
        TOKEN = token;
        AMOUNT = amount;
    }

    /// @inheritdoc ITestFaucet
    function drip(address to) external {
        // Check: once a day, and only what is there.
        uint256 nextAt = nextDripAt[to];
        if (block.timestamp < nextAt) revert Faucet_TooEarly(to, nextAt);
        uint256 balance = TOKEN.balanceOf(address(this));
        if (balance < AMOUNT) revert Faucet_Empty(balance, AMOUNT);

        // Effect.
        nextAt = block.timestamp + 1 days;
        nextDripAt[to] = nextAt;
        emit Dripped(to, AMOUNT, nextAt);

        // Interaction.
        TOKEN.safeTransfer(to, AMOUNT);
    }
}
