// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISettlementPools} from "../../../contracts/payments/ISettlementPools.sol";

/// @notice Stands where the settlement does: says which header is final, and keeps the pools' books against its balance.
contract SettlementStub is ISettlementPools {
    IERC20 private immutable _TOKEN;

    /// @inheritdoc ISettlementPools
    mapping(uint32 operator => bytes32) public finalHeaderHashOf;
    mapping(uint32 operator => uint256) public poolOf;
    uint256 public credited;
    uint256 public credits;
    address public channels;

    error NotChannels(address caller);
    error CreditWithoutTokens(uint256 credited, uint256 balance);

    constructor(IERC20 token) {
        _TOKEN = token;
    }

    function setChannels(address channels_) external {
        channels = channels_;
    }

    function setFinal(uint32 operator, bytes32 headerHash) external {
        finalHeaderHashOf[operator] = headerHash;
    }

    /// @inheritdoc ISettlementPools
    function creditPool(uint32 operator, uint256 amount) external {
        if (msg.sender != channels) revert NotChannels(msg.sender);
        poolOf[operator] += amount;
        credited += amount;
        ++credits;
        uint256 balance = _TOKEN.balanceOf(address(this));
        if (balance < credited) revert CreditWithoutTokens(credited, balance);
    }
}
