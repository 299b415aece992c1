// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "./types/BatchHeader.sol";
import {EarnerClaim} from "./types/EarnerClaim.sol";

/// @title IEarnerPools
/// @notice What each operator's payers paid in, and who is paid out of it: contributors first, then the treasury, then the
/// operator. Pools are kept apart, so that no operator's lie reaches the earnings made with another.
interface IEarnerPools {
    /// @notice What an operator's payers paid in, and what was paid out of it, in wei of OPEN.
    /// @param balance What the pool holds.
    /// @param contributorsPaid Paid to contributors in all.
    /// @param treasuryPaid Paid to the treasury in all.
    /// @param operatorPaid Paid to the operator in all, advances not counted.
    /// @param advanced What the bond paid in and did not get back yet.
    struct Pool {
        uint128 balance;
        uint128 contributorsPaid;
        uint128 treasuryPaid;
        uint128 operatorPaid;
        uint128 advanced;
    }

    /// @notice `amount` of OPEN was added to an operator's pool.
    event PoolCredited(uint32 indexed operator, uint256 amount);

    /// @notice The bond paid `amount` of OPEN into its operator's pool.
    event BondAdvanced(uint32 indexed operator, uint256 amount);

    /// @notice The payees of `id` were paid `amount` of OPEN; `claimed` is what was claimed in all.
    event EarningsClaimed(uint32 indexed operator, uint32 indexed id, uint256 amount, uint256 claimed);

    /// @notice The operator's owner was paid `amount` of OPEN, and got `returned` of what the bond had advanced.
    event OperatorPaid(uint32 indexed operator, address indexed account, uint256 amount, uint256 returned);

    /// @notice The treasury was paid `amount` of OPEN.
    event TreasuryPaid(uint32 indexed operator, address indexed account, uint256 amount);

    /// @notice A transfer of `amount` of OPEN to `account` failed; it is kept for it.
    event PayoutDeferred(address indexed account, uint256 amount);

    /// @notice `account` got `amount` of OPEN that was kept for it.
    event PayoutRetried(address indexed account, uint256 amount);

    /// @notice Only the channels may do this.
    error Settlement_NotChannels(address caller);

    /// @notice An amount does not fit.
    error Settlement_AmountTooLarge(uint256 amount);

    /// @notice The lists of a claim differ in length.
    error Settlement_ClaimLength(uint256 ids, uint256 earned, uint256 payees);

    /// @notice The earnings are not those of the final state.
    error Settlement_WrongEarnings(bytes32 root, bytes32 earnersRoot);

    /// @notice No registry knows `id`.
    error Settlement_UnknownEarner(uint32 id);

    /// @notice These are not the payees in force.
    error Settlement_WrongPayees(uint32 id, bytes32 given, bytes32 expected);

    /// @notice Nothing is kept for `account`.
    error Settlement_NothingKept(address account);

    /// @notice The transfer to `account` failed.
    error Settlement_TransferFailed(address account);

    /// @notice Pays earners what they have earned and not claimed, straight to their payees. When the pool is short, it
    /// pays in the order of the ids what it can; the bond pays the rest from K after the last finalisation, and while any
    /// of it is being withdrawn. By anyone.
    function claim(EarnerClaim calldata request) external returns (uint256 paid);

    /// @notice Pays the operator's owner from what the pool holds beyond what contributors and the treasury are owed, and
    /// gives back what the bond advanced. By anyone.
    function claimOperator(BatchHeader calldata header) external returns (uint256 paid);

    /// @notice Pays the treasury from what the pool holds beyond what contributors are owed. By anyone.
    function claimTreasury(BatchHeader calldata header) external returns (uint256 paid);

    /// @notice Tries again to send `account` what is kept for it. By anyone.
    function retryPayout(address account) external returns (uint256 amount);

    /// @notice An operator's pool.
    function poolOf(uint32 operator) external view returns (Pool memory);

    /// @notice What was claimed for `id` of an operator's payments in all, in wei of OPEN.
    function claimedOf(uint32 operator, uint32 id) external view returns (uint128);

    /// @notice What is kept for an account because a transfer failed, in wei of OPEN.
    function owed(address account) external view returns (uint256);
}
