// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @notice A cumulative Merkle claim per payee, as drops and reward distributors have it. The settlement benchmark's
/// second baseline.
contract MerkleClaim {
    IERC20 public immutable TOKEN;
    bytes32 public immutable ROOT;
    mapping(address account => uint256) public claimed;

    constructor(IERC20 token, bytes32 root) {
        TOKEN = token;
        ROOT = root;
    }

    function claim(address account, uint256 earned, bytes32[] calldata proof) external {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, earned))));
        require(MerkleProof.verifyCalldata(proof, ROOT, leaf));
        uint256 before = claimed[account];
        claimed[account] = earned;
        require(TOKEN.transfer(account, earned - before));
    }
}
