// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "../settlement/types/BatchHeader.sol";
import {ChannelState} from "../settlement/types/State.sol";
import {Voucher} from "../settlement/types/Voucher.sol";

/// @notice What is collected from one channel.
/// @param voucher Any voucher of the channel whose cap covers what the channel has spent.
/// @param r, s, v The session key's signature over it, in fields of fixed size: bytes would cost 500 gas a channel more.
/// @param state The channel's leaf in the final state.
struct Collection {
    Voucher voucher;
    bytes32 r;
    bytes32 s;
    uint8 v;
    ChannelState state;
}

/// @title IPaymentChannels
/// @notice Deposits of OPEN that payers spend by vouchers. A channel belongs to one payer, one operator and one session
/// key for good. What a channel can lose is bounded by the caps that its session key signed, whatever operators post.
interface IPaymentChannels {
    /// @notice The settlement contract was named, once and for all.
    event Wired(address indexed settlement);

    /// @notice A channel was opened. What it holds is said by `Deposited`.
    event ChannelOpened(uint32 indexed channel, address indexed payer, uint32 indexed operator, address sessionKey);

    /// @notice `from` added `amount`; all deposits less withdrawals are `deposit` now.
    event Deposited(uint32 indexed channel, address indexed from, uint256 amount, uint256 deposit);

    /// @notice Up to `amount` may be withdrawn from `readyAt` on.
    event ThawStarted(uint32 indexed channel, uint256 amount, uint40 readyAt);

    /// @notice What was announced stays in the channel.
    event ThawCancelled(uint32 indexed channel);

    /// @notice The payer took `amount` out; all deposits less withdrawals are `deposit` now.
    event Withdrawn(uint32 indexed channel, address indexed payer, uint256 amount, uint256 deposit);

    /// @notice `collected` is what was collected from the channel in all. What one call collected goes to the operator's
    /// pool at once, see `PoolCredited` of the settlement.
    event Collected(uint32 indexed channel, uint256 collected);

    /// @notice Only the deployer may name the settlement contract.
    error Channels_NotDeployer(address caller);

    /// @notice The settlement contract is named already.
    error Channels_AlreadyWired(address settlement);

    /// @notice The settlement must be a contract.
    error Channels_InvalidSettlement(address settlement);

    /// @notice The settlement contract is not named yet.
    error Channels_NotWired();

    /// @notice There is no operator `operator`.
    error Channels_UnknownOperator(uint32 operator);

    /// @notice The session key must not be the zero address.
    error Channels_InvalidSessionKey();

    /// @notice There is no channel `channel`.
    error Channels_Unknown(uint32 channel);

    /// @notice Only the channel's payer may do this.
    error Channels_NotPayer(uint32 channel, address caller);

    /// @notice The amount must not be zero.
    error Channels_ZeroAmount();

    /// @notice More than the channel still holds.
    error Channels_BalanceTooSmall(uint32 channel, uint256 requested, uint256 balance);

    /// @notice Nothing was announced.
    error Channels_NotThawing(uint32 channel);

    /// @notice What was announced cannot be withdrawn before `readyAt`.
    error Channels_StillThawing(uint32 channel, uint40 readyAt);

    /// @notice The header is not that of the operator's newest final batch.
    error Channels_NotFinalHeader(bytes32 headerHash, bytes32 finalHeaderHash);

    /// @notice The leaves are not those of the final state.
    error Channels_WrongRoot(bytes32 root, bytes32 channelsRoot);

    /// @notice The channel is with another operator.
    error Channels_ForeignChannel(uint32 channel, uint32 operator);

    /// @notice The voucher's cap does not cover what was spent.
    error Channels_CapTooSmall(uint32 channel, uint256 cap, uint256 spent);

    /// @notice The voucher is not signed by the channel's session key.
    error Channels_InvalidSignature(uint32 channel, bytes32 digest);

    /// @notice Names the settlement contract. Once, by the deployer.
    function wire(address settlement) external;

    /// @notice Opens a channel from the caller to an operator.
    /// @param sessionKey The key that signs vouchers; fixed for the channel's life.
    /// @param amount First deposit in wei of OPEN; may be zero.
    function open(uint32 operator, address sessionKey, uint256 amount) external returns (uint32 channel);

    /// @notice As `open`, with the approval as a signature. A permit that was used by someone else before does not stand
    /// in the way.
    function openWithPermit(
        uint32 operator,
        address sessionKey,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (uint32 channel);

    /// @notice Adds `amount` of the caller's OPEN to a channel. By anyone; what is withdrawn later goes to the payer.
    function deposit(uint32 channel, uint256 amount) external;

    /// @notice As `deposit`, with the approval as a signature.
    function depositWithPermit(
        uint32 channel,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Announces that `amount` will be withdrawn, instead of what was announced before. The operator admits no
    /// voucher above the deposit less this amount from now on. By the payer.
    function startThaw(uint32 channel, uint256 amount) external;

    /// @notice Takes an announcement back. By the payer.
    function cancelThaw(uint32 channel) external;

    /// @notice Withdraws what was announced, as far as it was not collected meanwhile, and ends the thaw. By the payer,
    /// once the thaw has passed.
    function withdraw(uint32 channel) external returns (uint256 amount);

    /// @notice Moves what the channels have spent by the operator's final state, and was not collected before, to the
    /// operator's pool. By anyone.
    /// @param header Header of the operator's newest final batch.
    /// @param collections One for each channel, ascending by channel.
    /// @param siblings Hashes of the multiproof of these channels to the header's channels root.
    /// @param bitmap Which siblings of the multiproof are not zero.
    function collect(
        BatchHeader calldata header,
        Collection[] calldata collections,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) external returns (uint256 amount);

    /// @notice The channel's operator, session key, and all deposits less withdrawals in wei of OPEN, which collecting
    /// does not reduce. Zeros for an unknown channel; never reverts.
    function channelOf(
        uint32 channel
    ) external view returns (uint32 operator, address sessionKey, uint128 depositLessWithdrawals);

    /// @notice What was collected from the channel in all, in wei of OPEN.
    function collectedOf(uint32 channel) external view returns (uint128);

    /// @notice The channel's payer; zero for an unknown channel.
    function payerOf(uint32 channel) external view returns (address);

    /// @notice What is being withdrawn and from when on it may be; zeros when nothing is.
    function thawOf(uint32 channel) external view returns (uint128 amount, uint40 readyAt);

    /// @notice The number of channels, which is the highest id.
    function channelCount() external view returns (uint32);

    /// @notice The settlement contract; zero until it is named.
    function settlement() external view returns (address);
}
