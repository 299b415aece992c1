// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @notice What one would do without batches: pay every payee of a job at once. The settlement benchmark's baseline.
contract PushSplitter {
    function push(IERC20 token, address[] calldata payees, uint256[] calldata amounts) external {
        for (uint256 i; i < payees.length; ++i) require(token.transferFrom(msg.sender, payees[i], amounts[i]));
    }
}
