// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ISettlementPools} from "../payments/ISettlementPools.sol";
import {IContribution721} from "../registries/IContribution721.sol";
import {IIdAllocator} from "../registries/IIdAllocator.sol";
import {Payee, PayeesLib} from "../registries/PayeesLib.sol";
import {BatchChain} from "./BatchChain.sol";
import {IEarnerPools} from "./IEarnerPools.sol";
import {Windows} from "./Windows.sol";
import {Hashes} from "./libraries/Hashes.sol";
import {SparseMultiproof} from "./libraries/SparseMultiproof.sol";
import {BatchHeader} from "./types/BatchHeader.sol";
import {EarnerClaim} from "./types/EarnerClaim.sol";

/// @title EarnerPools
/// @notice What {IEarnerPools} describes.
abstract contract EarnerPools is BatchChain, ReentrancyGuardTransient, IEarnerPools {
    IERC20 public immutable TOKEN;
    IIdAllocator public immutable ALLOCATOR;
    address public immutable CHANNELS;

    /// @notice K, in seconds.
    uint40 public immutable COLLECT;

    /// @dev Three slots: balance and contributorsPaid; treasuryPaid and operatorPaid; advanced.
    mapping(uint32 operator => Pool) private _pools;

    /// @dev Wei of OPEN claimed for ids 2k (low half) and 2k + 1 (high half) in one slot, for ids are dense.
    mapping(uint32 operator => mapping(uint256 pair => uint256)) private _claimed;

    /// @inheritdoc IEarnerPools
    mapping(address account => uint256) public owed;

    constructor(IERC20 token, IIdAllocator allocator, address channels, Windows memory windows) {
        TOKEN = token;
        ALLOCATOR = allocator;
        CHANNELS = channels;
        COLLECT = windows.collect;
    }

    /// @inheritdoc ISettlementPools
    function creditPool(uint32 operator, uint256 amount) external {
        // Check: the caller is the contract that transferred the amount.
        if (msg.sender != CHANNELS) revert Settlement_NotChannels(msg.sender);
        // Effect: the pool holds it.
        _pools[operator].balance += _narrow(amount);
        emit PoolCredited(operator, amount);
    }

    /// @inheritdoc IEarnerPools
    function claim(EarnerClaim calldata request) external nonReentrant returns (uint256 paid) {
        uint32 operator = request.header.operator;
        uint256 count = request.ids.length;
        // Check: the earnings are those of the final state.
        if (request.earned.length != count || request.payees.length != count) {
            revert Settlement_ClaimLength(count, request.earned.length, request.payees.length);
        }
        _checkFinal(request.header);
        _checkEarnings(request);

        // Effect: the bond pays what the pool lacks, when it answers for it.
        uint256[] memory amounts = new uint256[](count);
        uint256 due;
        for (uint256 i; i < count; ++i) {
            amounts[i] = _excess(request.earned[i], claimedOf(operator, request.ids[i]));
            due += amounts[i];
        }
        Pool storage pool = _pools[operator];
        if (due > pool.balance) _drawOnBond(operator, pool, due - pool.balance);

        // Effect: what can be paid is claimed.
        uint256 balance = pool.balance;
        for (uint256 i; i < count; ++i) {
            uint256 amount = amounts[i];
            if (amount > balance) amounts[i] = amount = balance;
            if (amount == 0) continue;
            balance -= amount;
            paid += amount;
            uint256 claimed = _addClaimed(operator, request.ids[i], amount);
            emit EarningsClaimed(operator, request.ids[i], amount, claimed);
        }
        pool.balance = _narrow(balance);
        pool.contributorsPaid += _narrow(paid);

        // Interaction: the payees are paid.
        for (uint256 i; i < count; ++i) {
            if (amounts[i] != 0) _payPayees(request.ids[i], amounts[i], request.payees[i]);
        }
    }

    /// @inheritdoc IEarnerPools
    function claimTreasury(BatchHeader calldata header) external nonReentrant returns (uint256 paid) {
        // Check: the header is the final one.
        _checkFinal(header);
        Pool storage pool = _pools[header.operator];
        uint256 free = _excess(pool.balance, _contributorsDue(header, pool));
        paid = _least(free, _excess(header.state.treasuryEarned, pool.treasuryPaid));
        if (paid == 0) return 0;

        // Effect: the treasury is paid.
        pool.balance -= uint128(paid);
        pool.treasuryPaid += uint128(paid);
        address treasury = PARAMETERS.treasury();
        emit TreasuryPaid(header.operator, treasury, paid);
        // Interaction: it gets it.
        _pay(treasury, paid);
    }

    /// @inheritdoc IEarnerPools
    function claimOperator(BatchHeader calldata header) external nonReentrant returns (uint256 paid) {
        // Check: the header is the final one.
        _checkFinal(header);
        Pool storage pool = _pools[header.operator];
        uint256 treasuryDue = _excess(header.state.treasuryEarned, pool.treasuryPaid);
        uint256 free = _excess(pool.balance, _contributorsDue(header, pool) + treasuryDue);
        uint256 earned = _least(free, _excess(header.state.operatorEarned, pool.operatorPaid));
        uint256 returned = _least(free - earned, pool.advanced);
        paid = earned + returned;
        if (paid == 0) return 0;

        // Effect: the operator is paid.
        pool.balance -= uint128(paid);
        pool.operatorPaid += uint128(earned);
        pool.advanced -= uint128(returned);
        address account = OPERATORS.ownerOf(header.operator);
        emit OperatorPaid(header.operator, account, earned, returned);
        // Interaction: its owner gets it.
        _pay(account, paid);
    }

    /// @inheritdoc IEarnerPools
    function retryPayout(address account) external nonReentrant returns (uint256 amount) {
        // Check: there is something.
        amount = owed[account];
        if (amount == 0) revert Settlement_NothingKept(account);
        // Effect: it is gone.
        owed[account] = 0;
        emit PayoutRetried(account, amount);
        // Interaction: the account gets it.
        if (!_transfer(account, amount)) revert Settlement_TransferFailed(account);
    }

    /// @inheritdoc IEarnerPools
    function poolOf(uint32 operator) external view returns (Pool memory) {
        return _pools[operator];
    }

    /// @inheritdoc IEarnerPools
    function claimedOf(uint32 operator, uint32 id) public view returns (uint128) {
        return uint128(_claimed[operator][id >> 1] >> _shift(id));
    }

    /// @dev Leaves in the bond what is at stake for pending batches: an operator could otherwise let an earner of its own
    /// draw its bond out in front of the proof that slashes it.
    function _drawOnBond(uint32 operator, Pool storage pool, uint256 lacking) private {
        if (!_bondAnswers(operator)) return;
        uint256 free = _excess(OPERATORS.bondOf(operator), _atStake(operator));
        uint256 drawn = OPERATORS.draw(operator, _least(lacking, free));
        if (drawn == 0) return;
        pool.balance += _narrow(drawn);
        pool.advanced += _narrow(drawn);
        emit BondAdvanced(operator, drawn);
    }

    /// @dev From K after the last finalisation; and while the bond is on its way out, for an operator that finalises again
    /// and again could otherwise take it away from contributors without ever collecting.
    function _bondAnswers(uint32 operator) private view returns (bool) {
        if (block.timestamp >= uint256(chainOf(operator).finalisedAt) + COLLECT) return true;
        (uint256 unbonding, ) = OPERATORS.unbondingOf(operator);
        return unbonding != 0;
    }

    function _checkEarnings(EarnerClaim calldata request) private pure {
        uint32[] memory ids = request.ids;
        bytes32[] memory leaves = new bytes32[](ids.length);
        for (uint256 i; i < ids.length; ++i) leaves[i] = Hashes.earnerLeaf(ids[i], request.earned[i]);
        bytes32 root = SparseMultiproof.root(ids, leaves, request.siblings, request.bitmap);
        bytes32 expected = request.header.state.earnersRoot;
        if (root != expected) revert Settlement_WrongEarnings(root, expected);
    }

    /// @dev What contributors are owed by the final state and were not paid.
    function _contributorsDue(BatchHeader calldata header, Pool storage pool) private view returns (uint256) {
        uint256 others = uint256(header.state.treasuryEarned) + header.state.operatorEarned;
        return _excess(_excess(header.state.totalSpent, others), pool.contributorsPaid);
    }

    function _addClaimed(uint32 operator, uint32 id, uint256 amount) private returns (uint256 claimed) {
        uint256 packed = _claimed[operator][id >> 1];
        claimed = uint128(packed >> _shift(id)) + amount;
        // What is claimed is at most what was earned, which fits the half; so the other half stays as it is.
        _claimed[operator][id >> 1] = packed + (amount << _shift(id));
    }

    function _payPayees(uint32 id, uint256 amount, Payee[] calldata payees) private {
        address registry = ALLOCATOR.registryOf(id);
        if (registry == address(0)) revert Settlement_UnknownEarner(id);
        bytes32 given = PayeesLib.hash(payees);
        bytes32 expected = IContribution721(registry).payeesHashOf(id);
        if (given != expected) revert Settlement_WrongPayees(id, given, expected);
        if (payees.length == 0) {
            _pay(IContribution721(registry).ownerOf(id), amount);
            return;
        }
        uint256 cumulative;
        uint256 paid;
        for (uint256 i; i < payees.length; ++i) {
            cumulative += payees[i].sharePpm;
            uint256 upTo = (amount * cumulative) / PayeesLib.TOTAL_PPM;
            if (upTo != paid) _pay(payees[i].account, upTo - paid);
            paid = upTo;
        }
    }

    /// @dev A transfer that fails must not stand in the way of others.
    function _pay(address account, uint256 amount) private {
        if (_transfer(account, amount)) return;
        owed[account] += amount;
        emit PayoutDeferred(account, amount);
    }

    function _transfer(address account, uint256 amount) private returns (bool) {
        try TOKEN.transfer(account, amount) returns (bool sent) {
            return sent;
        } catch {
            return false;
        }
    }

    function _narrow(uint256 amount) private pure returns (uint128) {
        if (amount > type(uint128).max) revert Settlement_AmountTooLarge(amount);
        return uint128(amount);
    }

    /// @dev Zero instead of a negative difference: what is final stays payable whatever it says.
    function _excess(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : 0;
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _shift(uint32 id) private pure returns (uint256) {
        return id & 1 == 0 ? 0 : 128;
    }
}
