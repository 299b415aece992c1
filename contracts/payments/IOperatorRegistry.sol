// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title IOperatorRegistry
/// @notice Operators, where they are reached, and the bonds that answer for what they post.
interface IOperatorRegistry {
    /// @notice The settlement contract was named, once and for all.
    event Wired(address indexed settlement);

    /// @notice An operator was registered.
    event OperatorRegistered(uint32 indexed operator, address indexed owner, address indexed signer, string endpoint);

    /// @notice An operator is reached at `endpoint` from now on.
    event EndpointSet(uint32 indexed operator, string endpoint);

    /// @notice `signer` posts for the operator from now on, and the one before no longer.
    event SignerSet(uint32 indexed operator, address indexed signer);

    /// @notice `from` added `amount` to the bond, which is `bond` now.
    event BondDeposited(uint32 indexed operator, address indexed from, uint256 amount, uint256 bond);

    /// @notice `amount` of the bond may be withdrawn from `readyAt` on. It can be slashed and drawn on until it is.
    event UnbondRequested(uint32 indexed operator, uint256 amount, uint40 readyAt);

    /// @notice What was announced stays in the bond.
    event UnbondCancelled(uint32 indexed operator);

    /// @notice The owner took `amount` out of the bond, which is `bond` now.
    event BondWithdrawn(uint32 indexed operator, address indexed to, uint256 amount, uint256 bond);

    /// @notice The whole bond was taken: `reward` went to the prover and `burned` was destroyed.
    event Slashed(uint32 indexed operator, address indexed prover, uint256 reward, uint256 burned);

    /// @notice `amount` of the bond went to the settlement to pay contributors; the bond is `bond` now.
    event BondDrawn(uint32 indexed operator, uint256 amount, uint256 bond);

    /// @notice Only the deployer may name the settlement contract.
    error Operator_NotDeployer(address caller);

    /// @notice The settlement contract is named already.
    error Operator_AlreadyWired(address settlement);

    /// @notice The settlement must be a contract.
    error Operator_InvalidSettlement(address settlement);

    /// @notice Only the settlement may do this.
    error Operator_NotSettlement(address caller);

    /// @notice There is no operator `operator`.
    error Operator_Unknown(uint32 operator);

    /// @notice Only the operator's owner may do this.
    error Operator_NotOwner(uint32 operator, address caller);

    /// @notice The signer must not be the zero address.
    error Operator_InvalidSigner();

    /// @notice The endpoint is empty or longer than `maximum` bytes.
    error Operator_InvalidEndpoint(uint256 length, uint256 maximum);

    /// @notice The amount must not be zero.
    error Operator_ZeroAmount();

    /// @notice More than the bond holds.
    error Operator_BondTooSmall(uint32 operator, uint256 requested, uint256 bond);

    /// @notice Nothing was announced.
    error Operator_NotUnbonding(uint32 operator);

    /// @notice The bond is locked until `readyAt`.
    error Operator_StillUnbonding(uint32 operator, uint40 readyAt);

    /// @notice Names the settlement contract. Once, by the deployer.
    function wire(address settlement) external;

    /// @notice Registers an operator owned by the caller.
    /// @param signer The account that posts for it.
    function register(string calldata endpoint, address signer) external returns (uint32 operator);

    /// @notice Changes where the operator is reached. By its owner.
    function setEndpoint(uint32 operator, string calldata endpoint) external;

    /// @notice Changes the account that posts for the operator. By its owner.
    function setSigner(uint32 operator, address signer) external;

    /// @notice Adds `amount` of the caller's OPEN to a bond. By anyone.
    function depositBond(uint32 operator, uint256 amount) external;

    /// @notice As `depositBond`, with the approval as a signature. A permit that was used by someone else before does not
    /// stand in the way.
    function depositBondWithPermit(
        uint32 operator,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Announces that `amount` of the bond will be withdrawn, instead of what was announced before. By its owner.
    function requestUnbond(uint32 operator, uint256 amount) external;

    /// @notice Takes an announcement back. By the owner.
    function cancelUnbond(uint32 operator) external;

    /// @notice Withdraws what was announced and is left of it, to the owner. By the owner, after the unbonding window.
    function withdrawBond(uint32 operator) external returns (uint256 amount);

    /// @notice Takes the whole bond, what is being withdrawn included: half to `prover`, the rest is burned. By the
    /// settlement. Does nothing when there is no bond.
    function slash(uint32 operator, address prover) external returns (uint256 reward, uint256 burned);

    /// @notice Sends up to `amount` of the bond to the settlement and says how much it was. By the settlement.
    function draw(uint32 operator, uint256 amount) external returns (uint256 drawn);

    /// @notice The whole bond, what is being withdrawn included, in wei of OPEN.
    function bondOf(uint32 operator) external view returns (uint256);

    /// @notice The bond less what is being withdrawn, in wei of OPEN.
    function availableBondOf(uint32 operator) external view returns (uint256);

    /// @notice What is being withdrawn and from when on it may be; zeros when nothing is.
    function unbondingOf(uint32 operator) external view returns (uint256 amount, uint40 readyAt);

    /// @notice Whether `account` posts for the operator. Never reverts.
    function isSigner(uint32 operator, address account) external view returns (bool);

    /// @notice The operator's owner; zero when it is unknown. Never reverts.
    function ownerOf(uint32 operator) external view returns (address);

    /// @notice Where the operator is reached.
    function endpointOf(uint32 operator) external view returns (string memory);

    /// @notice The number of operators, which is the highest id.
    function operatorCount() external view returns (uint32);

    /// @notice The settlement contract; zero until it is named.
    function settlement() external view returns (address);
}
