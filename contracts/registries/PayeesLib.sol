// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice One of those who share what a contribution earns.
/// @param account Where its part is paid to.
/// @param sharePpm Its part, in millionths.
struct Payee {
    address account;
    uint32 sharePpm;
}

/// @title PayeesLib
/// @notice Lists of payees: what a valid one is, and the hash that stands for it on-chain.
library PayeesLib {
    /// @notice Most payees that a list may have.
    uint256 internal constant MAX_PAYEES = 64;

    /// @notice The shares of a list sum to this.
    uint256 internal constant TOTAL_PPM = 1_000_000;

    /// @notice The hash that stands for "the token's owner alone".
    bytes32 internal constant OWNER_ALONE = bytes32(0);

    /// @notice The list is longer than `maximum`.
    error Payees_TooMany(uint256 count, uint256 maximum);

    /// @notice The payee at `index` has no account or no share.
    error Payees_Empty(uint256 index, address account, uint32 sharePpm);

    /// @notice The shares sum to `sum` instead of 1,000,000.
    error Payees_WrongSum(uint256 sum);

    /// @notice `keccak256(abi.encode(payees))`, or zero for the empty list.
    function hash(Payee[] calldata payees) internal pure returns (bytes32) {
        return payees.length == 0 ? OWNER_ALONE : keccak256(abi.encode(payees));
    }

    /// @notice Reverts unless the list is empty or valid.
    function validate(Payee[] calldata payees) internal pure {
        uint256 count = payees.length;
        if (count == 0) return;
        if (count > MAX_PAYEES) revert Payees_TooMany(count, MAX_PAYEES);
        uint256 sum;
        for (uint256 i; i < count; ++i) {
            Payee calldata payee = payees[i];
            if (payee.account == address(0) || payee.sharePpm == 0) {
                revert Payees_Empty(i, payee.account, payee.sharePpm);
            }
            sum += payee.sharePpm;
        }
        if (sum != TOTAL_PPM) revert Payees_WrongSum(sum);
    }
}
