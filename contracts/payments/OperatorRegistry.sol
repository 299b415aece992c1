// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Windows, WindowsLib} from "../settlement/Windows.sol";
import {IOpenToken} from "../token/IOpenToken.sol";
import {IOperatorRegistry} from "./IOperatorRegistry.sol";

/// @title OperatorRegistry
/// @notice What {IOperatorRegistry} describes.
contract OperatorRegistry is IOperatorRegistry, ReentrancyGuardTransient {
    using SafeCast for uint256;
    using SafeERC20 for IOpenToken;

    /// @notice Longest endpoint in bytes.
    uint256 public constant MAX_ENDPOINT_LENGTH = 256;

    /// @notice OPEN, in which bonds are held.
    IOpenToken public immutable TOKEN;

    /// @notice How long a withdrawal of bond is announced ahead.
    uint40 public immutable UNBONDING;

    /// @dev Who may name the settlement contract.
    address private immutable _DEPLOYER;

    /// @dev Three slots: who owns it and when it may withdraw; the bond, of which `unbonding` is announced to be
    /// withdrawn and never exceeds it; who posts for it.
    struct OperatorRecord {
        address owner;
        uint40 readyAt;
        uint128 bond;
        uint128 unbonding;
        address signer;
    }

    /// @inheritdoc IOperatorRegistry
    address public settlement;

    /// @inheritdoc IOperatorRegistry
    uint32 public operatorCount;

    mapping(uint32 operator => OperatorRecord) private _operators;
    mapping(uint32 operator => string) private _endpoints;

    constructor(IOpenToken token, Windows memory windows) {
        WindowsLib.validate(windows);
        TOKEN = token;
        UNBONDING = windows.unbonding;
        _DEPLOYER = msg.sender;
    }

    modifier onlyOwner(uint32 operator) {
        _checkKnown(operator);
        if (_operators[operator].owner != msg.sender) revert Operator_NotOwner(operator, msg.sender);
        _;
    }

    modifier onlySettlement() {
        if (msg.sender != settlement) revert Operator_NotSettlement(msg.sender);
        _;
    }

    /// @inheritdoc IOperatorRegistry
    function wire(address settlement_) external {
        // Check.
        if (msg.sender != _DEPLOYER) revert Operator_NotDeployer(msg.sender);
        if (settlement != address(0)) revert Operator_AlreadyWired(settlement);
        if (settlement_.code.length == 0) revert Operator_InvalidSettlement(settlement_);

        // Effect.
        settlement = settlement_;
        emit Wired(settlement_);
    }

    // Registration

    /// @inheritdoc IOperatorRegistry
    function register(string calldata endpoint, address signer) external returns (uint32 operator) {
        // Check.
        _checkEndpoint(endpoint);
        _checkSigner(signer);

        // Effect.
        operator = ++operatorCount;
        _operators[operator].owner = msg.sender;
        _operators[operator].signer = signer;
        _endpoints[operator] = endpoint;
        emit OperatorRegistered(operator, msg.sender, signer, endpoint);
    }

    /// @inheritdoc IOperatorRegistry
    function setEndpoint(uint32 operator, string calldata endpoint) external onlyOwner(operator) {
        _checkEndpoint(endpoint);
        _endpoints[operator] = endpoint;
        emit EndpointSet(operator, endpoint);
    }

    /// @inheritdoc IOperatorRegistry
    function setSigner(uint32 operator, address signer) external onlyOwner(operator) {
        _checkSigner(signer);
        _operators[operator].signer = signer;
        emit SignerSet(operator, signer);
    }

    // Bond

    /// @inheritdoc IOperatorRegistry
    function depositBond(uint32 operator, uint256 amount) external nonReentrant {
        _depositBond(operator, amount);
    }

    /// @inheritdoc IOperatorRegistry
    function depositBondWithPermit(
        uint32 operator,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // A permit that somebody else used first has left the allowance that the transfer needs.
        try TOKEN.permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _depositBond(operator, amount);
    }

    /// @inheritdoc IOperatorRegistry
    function requestUnbond(uint32 operator, uint256 amount) external onlyOwner(operator) {
        // Check.
        OperatorRecord storage record = _operators[operator];
        uint256 bond = record.bond;
        if (amount == 0) revert Operator_ZeroAmount();
        if (amount > bond) revert Operator_BondTooSmall(operator, amount, bond);

        // Effect.
        uint40 readyAt = uint40(block.timestamp) + UNBONDING;
        // Safe cast: not above the bond.
        record.unbonding = uint128(amount);
        record.readyAt = readyAt;
        emit UnbondRequested(operator, amount, readyAt);
    }

    /// @inheritdoc IOperatorRegistry
    function cancelUnbond(uint32 operator) external onlyOwner(operator) {
        // Check.
        OperatorRecord storage record = _operators[operator];
        if (record.readyAt == 0) revert Operator_NotUnbonding(operator);

        // Effect.
        record.unbonding = 0;
        record.readyAt = 0;
        emit UnbondCancelled(operator);
    }

    /// @inheritdoc IOperatorRegistry
    function withdrawBond(uint32 operator) external nonReentrant onlyOwner(operator) returns (uint256 amount) {
        // Check.
        OperatorRecord storage record = _operators[operator];
        uint40 readyAt = record.readyAt;
        if (readyAt == 0) revert Operator_NotUnbonding(operator);
        if (block.timestamp < readyAt) revert Operator_StillUnbonding(operator, readyAt);

        // Effect.
        uint128 unbonding = record.unbonding;
        uint128 bond = record.bond - unbonding;
        record.bond = bond;
        record.unbonding = 0;
        record.readyAt = 0;
        emit BondWithdrawn(operator, msg.sender, unbonding, bond);

        // Interaction.
        TOKEN.safeTransfer(msg.sender, unbonding);
        return unbonding;
    }

    // Settlement

    /// @inheritdoc IOperatorRegistry
    function slash(
        uint32 operator,
        address prover
    ) external nonReentrant onlySettlement returns (uint256 reward, uint256 burned) {
        // Check.
        OperatorRecord storage record = _operators[operator];
        uint256 bond = record.bond;
        if (bond == 0) return (0, 0);

        // Effect: half is burned, or a caught operator that proves its own lie would lose nothing.
        reward = bond / 2;
        burned = bond - reward;
        record.bond = 0;
        record.unbonding = 0;
        record.readyAt = 0;
        emit Slashed(operator, prover, reward, burned);

        // Interaction.
        TOKEN.safeTransfer(prover, reward);
        TOKEN.burn(burned);
    }

    /// @inheritdoc IOperatorRegistry
    function draw(uint32 operator, uint256 amount) external nonReentrant onlySettlement returns (uint256 drawn) {
        // Check.
        OperatorRecord storage record = _operators[operator];
        uint128 bond = record.bond;
        drawn = Math.min(amount, bond);
        if (drawn == 0) return 0;

        // Effect: what is being withdrawn goes first, for the rest may be at stake for batches posted since. Safe casts:
        // not above the bond, not above what is being withdrawn.
        bond -= uint128(drawn);
        record.bond = bond;
        record.unbonding -= uint128(Math.min(record.unbonding, drawn));
        emit BondDrawn(operator, drawn, bond);

        // Interaction.
        TOKEN.safeTransfer(msg.sender, drawn);
    }

    // Views

    /// @inheritdoc IOperatorRegistry
    function bondOf(uint32 operator) external view returns (uint256) {
        return _operators[operator].bond;
    }

    /// @inheritdoc IOperatorRegistry
    function availableBondOf(uint32 operator) external view returns (uint256) {
        OperatorRecord storage record = _operators[operator];
        return record.bond - record.unbonding;
    }

    /// @inheritdoc IOperatorRegistry
    function unbondingOf(uint32 operator) external view returns (uint256 amount, uint40 readyAt) {
        OperatorRecord storage record = _operators[operator];
        return (record.unbonding, record.readyAt);
    }

    /// @inheritdoc IOperatorRegistry
    function isSigner(uint32 operator, address account) external view returns (bool) {
        return account != address(0) && _operators[operator].signer == account;
    }

    /// @inheritdoc IOperatorRegistry
    function ownerOf(uint32 operator) external view returns (address) {
        return _operators[operator].owner;
    }

    /// @inheritdoc IOperatorRegistry
    function endpointOf(uint32 operator) external view returns (string memory) {
        return _endpoints[operator];
    }

    // Internal

    function _depositBond(uint32 operator, uint256 amount) private {
        // Check.
        _checkKnown(operator);
        if (amount == 0) revert Operator_ZeroAmount();

        // Effect.
        uint256 bond = uint256(_operators[operator].bond) + amount.toUint128();
        _operators[operator].bond = bond.toUint128();
        emit BondDeposited(operator, msg.sender, amount, bond);

        // Interaction.
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _checkKnown(uint32 operator) private view {
        if (_operators[operator].owner == address(0)) revert Operator_Unknown(operator);
    }

    function _checkSigner(address signer) private pure {
        if (signer == address(0)) revert Operator_InvalidSigner();
    }

    function _checkEndpoint(string calldata endpoint) private pure {
        uint256 length = bytes(endpoint).length;
        if (length == 0 || length > MAX_ENDPOINT_LENGTH) revert Operator_InvalidEndpoint(length, MAX_ENDPOINT_LENGTH);
    }
}
