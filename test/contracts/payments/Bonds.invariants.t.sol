// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {InvariantBase} from "../TestBase.sol";
import {Payments} from "./Payments.sol";

/// @notice Two operators' bonds moved at random by all who may.
contract BondActor is Payments {
    uint256 public burned;
    uint256 public paidIn;
    uint256 public paidOut;

    constructor() {
        deployPayments();
        registerOperator();
        registerOperator();
    }

    function deposit(bool second, uint256 amount) external {
        amount = bound(amount, 1, 100e18);
        if (token.balanceOf(OPERATOR_OWNER) < amount) return;
        vm.prank(OPERATOR_OWNER);
        operators.depositBond(_id(second), amount);
        paidIn += amount;
    }

    function requestUnbond(bool second, uint256 amount) external {
        vm.prank(OPERATOR_OWNER);
        try operators.requestUnbond(_id(second), bound(amount, 1, 100e18)) {} catch {}
    }

    function cancelUnbond(bool second) external {
        vm.prank(OPERATOR_OWNER);
        try operators.cancelUnbond(_id(second)) {} catch {}
    }

    function withdrawBond(bool second, uint256 wait) external {
        vm.warp(vm.getBlockTimestamp() + bound(wait, 0, 6 days));
        vm.prank(OPERATOR_OWNER);
        try operators.withdrawBond(_id(second)) returns (uint256 amount) {
            paidOut += amount;
        } catch {}
    }

    function slash(bool second, bool really) external {
        if (!really) return;
        vm.prank(address(settlement));
        (uint256 reward, uint256 gone) = operators.slash(_id(second), BOB);
        paidOut += reward;
        burned += gone;
    }

    function draw(bool second, uint256 amount) external {
        vm.prank(address(settlement));
        paidOut += operators.draw(_id(second), bound(amount, 0, 50e18));
    }

    function check() external view {
        uint256 bonds = operators.bondOf(1) + operators.bondOf(2);
        assertEq(token.balanceOf(address(operators)), bonds, "held and owed differ");
        assertEq(paidIn, paidOut + burned + bonds, "in and out differ");
        assertEq(token.totalSupply(), token.INITIAL_SUPPLY() - burned, "supply");
        for (uint32 operator = 1; operator <= 2; ++operator) {
            (uint256 unbonding, uint40 readyAt) = operators.unbondingOf(operator);
            assertEq(operators.availableBondOf(operator) + unbonding, operators.bondOf(operator), "available");
            if (readyAt == 0) assertEq(unbonding, 0, "unbonding without a time");
        }
    }

    function _id(bool second) private pure returns (uint32) {
        return second ? 2 : 1;
    }
}

contract BondInvariants is InvariantBase {
    BondActor private _actor;

    function setUp() public {
        _actor = new BondActor();
        targetContract(address(_actor));
    }

    /// @notice The registry holds exactly the bonds; every wei that came in went out, was burned, or is still there.
    function invariant_BondsAreAccountedFor() public view {
        _actor.check();
    }
}
