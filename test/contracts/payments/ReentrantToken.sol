// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @notice A token that calls somebody before each movement, as OPEN never does, and remembers the answer.
contract ReentrantToken is ERC20, ERC20Permit, ERC20Burnable {
    address public target;
    bytes public data;
    bool public called;
    bool public succeeded;
    bytes public answer;

    constructor(address holder) ERC20("Reentrant", "RE") ERC20Permit("Reentrant") {
        _mint(holder, 1e27);
    }

    function arm(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
        called = false;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (target != address(0)) {
            address target_ = target;
            target = address(0);
            called = true;
            (succeeded, answer) = target_.call(data);
        }
        super._update(from, to, value);
    }
}
