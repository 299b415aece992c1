// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Hashes} from "../settlement/libraries/Hashes.sol";
import {SparseMultiproof} from "../settlement/libraries/SparseMultiproof.sol";
import {VoucherHash} from "../settlement/libraries/VoucherHash.sol";
import {BatchHeader} from "../settlement/types/BatchHeader.sol";
import {Windows, WindowsLib} from "../settlement/Windows.sol";
import {IOpenToken} from "../token/IOpenToken.sol";
import {IOperatorRegistry} from "./IOperatorRegistry.sol";
import {Collection, IPaymentChannels} from "./IPaymentChannels.sol";
import {ISettlementPools} from "./ISettlementPools.sol";

/// @title PaymentChannels
/// @notice What {IPaymentChannels} describes.
contract PaymentChannels is IPaymentChannels, EIP712, ReentrancyGuardTransient {
    using SafeCast for uint256;
    using SafeERC20 for IOpenToken;

    /// @notice OPEN, in which deposits are held.
    IOpenToken public immutable TOKEN;

    /// @notice Who channels can be opened to.
    IOperatorRegistry public immutable OPERATORS;

    /// @notice How long a withdrawal is announced ahead.
    uint40 public immutable THAW;

    /// @dev Who may name the settlement contract.
    address private immutable _DEPLOYER;

    /// @dev Three slots. The first is all that collecting writes, the first two all that proofs and collecting read.
    /// `collected` never exceeds `deposit`; the channel holds the difference. OPEN's supply fits 96 bits.
    struct ChannelRecord {
        uint128 deposit;
        uint128 collected;
        address sessionKey;
        uint32 operator;
        uint40 readyAt;
        address payer;
        uint96 thawing;
    }

    /// @inheritdoc IPaymentChannels
    address public settlement;

    /// @inheritdoc IPaymentChannels
    uint32 public channelCount;

    mapping(uint32 channel => ChannelRecord) private _channels;

    constructor(
        IOpenToken token,
        IOperatorRegistry operators,
        Windows memory windows
    ) EIP712(VoucherHash.NAME, VoucherHash.VERSION) {
        WindowsLib.validate(windows);
        TOKEN = token;
        OPERATORS = operators;
        THAW = windows.thaw;
        _DEPLOYER = msg.sender;
    }

    modifier onlyPayer(uint32 channel) {
        _checkKnown(channel);
        if (_channels[channel].payer != msg.sender) revert Channels_NotPayer(channel, msg.sender);
        _;
    }

    /// @inheritdoc IPaymentChannels
    function wire(address settlement_) external {
        // Check.
        if (msg.sender != _DEPLOYER) revert Channels_NotDeployer(msg.sender);
        if (settlement != address(0)) revert Channels_AlreadyWired(settlement);
        if (settlement_.code.length == 0) revert Channels_InvalidSettlement(settlement_);

        // Effect.
        settlement = settlement_;
        emit Wired(settlement_);
    }

    // Paying in

    /// @inheritdoc IPaymentChannels
    function open(uint32 operator, address sessionKey, uint256 amount) external nonReentrant returns (uint32 channel) {
        return _open(operator, sessionKey, amount);
    }

    /// @inheritdoc IPaymentChannels
    function openWithPermit(
        uint32 operator,
        address sessionKey,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant returns (uint32 channel) {
        _permit(amount, deadline, v, r, s);
        return _open(operator, sessionKey, amount);
    }

    /// @inheritdoc IPaymentChannels
    function deposit(uint32 channel, uint256 amount) external nonReentrant {
        _checkKnown(channel);
        if (amount == 0) revert Channels_ZeroAmount();
        _deposit(channel, amount);
    }

    /// @inheritdoc IPaymentChannels
    function depositWithPermit(
        uint32 channel,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        _checkKnown(channel);
        if (amount == 0) revert Channels_ZeroAmount();
        _permit(amount, deadline, v, r, s);
        _deposit(channel, amount);
    }

    // Taking out

    /// @inheritdoc IPaymentChannels
    function startThaw(uint32 channel, uint256 amount) external onlyPayer(channel) {
        // Check.
        ChannelRecord storage record = _channels[channel];
        uint256 balance = record.deposit - record.collected;
        if (amount == 0) revert Channels_ZeroAmount();
        if (amount > balance) revert Channels_BalanceTooSmall(channel, amount, balance);

        // Effect.
        uint40 readyAt = uint40(block.timestamp) + THAW;
        record.thawing = amount.toUint96();
        record.readyAt = readyAt;
        emit ThawStarted(channel, amount, readyAt);
    }

    /// @inheritdoc IPaymentChannels
    function cancelThaw(uint32 channel) external onlyPayer(channel) {
        // Check.
        ChannelRecord storage record = _channels[channel];
        if (record.readyAt == 0) revert Channels_NotThawing(channel);

        // Effect.
        record.thawing = 0;
        record.readyAt = 0;
        emit ThawCancelled(channel);
    }

    /// @inheritdoc IPaymentChannels
    function withdraw(uint32 channel) external nonReentrant onlyPayer(channel) returns (uint256 amount) {
        // Check.
        ChannelRecord storage record = _channels[channel];
        uint40 readyAt = record.readyAt;
        if (readyAt == 0) revert Channels_NotThawing(channel);
        if (block.timestamp < readyAt) revert Channels_StillThawing(channel, readyAt);

        // Effect: one withdrawal a thaw; what was collected meanwhile is gone.
        uint128 total = record.deposit;
        amount = Math.min(record.thawing, total - record.collected);
        // Safe cast: not above `thawing`.
        total -= uint128(amount);
        record.deposit = total;
        record.thawing = 0;
        record.readyAt = 0;
        emit Withdrawn(channel, msg.sender, amount, total);

        // Interaction.
        TOKEN.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IPaymentChannels
    function collect(
        BatchHeader calldata header,
        Collection[] calldata collections,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) external nonReentrant returns (uint256 amount) {
        // Check: the header is the final one.
        _checkHeader(header);
        // Check and effect, channel by channel.
        uint32[] memory ids = new uint32[](collections.length);
        bytes32[] memory leaves = new bytes32[](collections.length);
        amount = _collectEach(header.operator, collections, ids, leaves);
        // Check: the leaves are those of the operator's final state.
        bytes32 root = SparseMultiproof.root(ids, leaves, siblings, bitmap);
        if (root != header.state.channelsRoot) revert Channels_WrongRoot(root, header.state.channelsRoot);
        if (amount == 0) return 0;

        // Interaction.
        TOKEN.safeTransfer(settlement, amount);
        ISettlementPools(settlement).creditPool(header.operator, amount);
    }

    // Views

    /// @inheritdoc IPaymentChannels
    function channelOf(
        uint32 channel
    ) external view returns (uint32 operator, address sessionKey, uint128 depositLessWithdrawals) {
        ChannelRecord storage record = _channels[channel];
        return (record.operator, record.sessionKey, record.deposit);
    }

    /// @inheritdoc IPaymentChannels
    function collectedOf(uint32 channel) external view returns (uint128) {
        return _channels[channel].collected;
    }

    /// @inheritdoc IPaymentChannels
    function payerOf(uint32 channel) external view returns (address) {
        return _channels[channel].payer;
    }

    /// @inheritdoc IPaymentChannels
    function thawOf(uint32 channel) external view returns (uint128 amount, uint40 readyAt) {
        ChannelRecord storage record = _channels[channel];
        return (record.thawing, record.readyAt);
    }

    // Internal

    function _open(uint32 operator, address sessionKey, uint256 amount) private returns (uint32 channel) {
        // Check.
        if (OPERATORS.ownerOf(operator) == address(0)) revert Channels_UnknownOperator(operator);
        if (sessionKey == address(0)) revert Channels_InvalidSessionKey();

        // Effect.
        channel = ++channelCount;
        ChannelRecord storage record = _channels[channel];
        record.sessionKey = sessionKey;
        record.operator = operator;
        record.payer = msg.sender;
        emit ChannelOpened(channel, msg.sender, operator, sessionKey);

        if (amount != 0) _deposit(channel, amount);
    }

    function _deposit(uint32 channel, uint256 amount) private {
        // Effect.
        uint256 total = uint256(_channels[channel].deposit) + amount.toUint128();
        _channels[channel].deposit = total.toUint128();
        emit Deposited(channel, msg.sender, amount, total);

        // Interaction.
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @dev A permit that somebody else used first has left the allowance that the transfer needs.
    function _permit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) private {
        try TOKEN.permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
    }

    function _checkHeader(BatchHeader calldata header) private view {
        if (settlement == address(0)) revert Channels_NotWired();
        bytes32 headerHash = Hashes.headerOf(header);
        bytes32 finalHeaderHash = ISettlementPools(settlement).finalHeaderHashOf(header.operator);
        if (headerHash != finalHeaderHash) revert Channels_NotFinalHeader(headerHash, finalHeaderHash);
    }

    /// @dev Fills in the ids and leaves of the channels on the way: one pass over the calldata.
    function _collectEach(
        uint32 operator,
        Collection[] calldata collections,
        uint32[] memory ids,
        bytes32[] memory leaves
    ) private returns (uint256 amount) {
        bytes32 domain = _domainSeparatorV4();
        for (uint256 i; i < collections.length; ++i) {
            Collection calldata collection = collections[i];
            uint32 channel = collection.voucher.channel;
            ids[i] = channel;
            leaves[i] = Hashes.channelLeafOf(channel, collection.state);

            // Check: the payer's session key agreed to as much, whatever the state says.
            ChannelRecord storage record = _channels[channel];
            uint128 spent = collection.state.spent;
            if (record.operator != operator) revert Channels_ForeignChannel(channel, record.operator);
            if (collection.voucher.cap < spent) revert Channels_CapTooSmall(channel, collection.voucher.cap, spent);
            _checkSignature(domain, collection, record.sessionKey);

            // Effect.
            amount += _charge(channel, record, spent);
        }
    }

    /// @dev Charges the channel up to what was spent, as far as the deposit goes.
    function _charge(uint32 channel, ChannelRecord storage record, uint128 spent) private returns (uint128) {
        uint128 deposited = record.deposit;
        uint128 collected = record.collected;
        uint128 target = spent < deposited ? spent : deposited;
        if (target <= collected) return 0;
        record.collected = target;
        emit Collected(channel, target);
        return target - collected;
    }

    function _checkSignature(bytes32 domain, Collection calldata collection, address key) private pure {
        bytes32 digest = VoucherHash.digestOf(domain, collection.voucher);
        if (!VoucherHash.signedBy(digest, collection.r, collection.s, collection.v, key)) {
            revert Channels_InvalidSignature(collection.voucher.channel, digest);
        }
    }

    function _checkKnown(uint32 channel) private view {
        if (_channels[channel].payer == address(0)) revert Channels_Unknown(channel);
    }
}
