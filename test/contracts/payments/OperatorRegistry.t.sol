// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IOperatorRegistry} from "../../../contracts/payments/IOperatorRegistry.sol";
import {OperatorRegistry} from "../../../contracts/payments/OperatorRegistry.sol";
import {Windows, WindowsLib} from "../../../contracts/settlement/Windows.sol";
import {IOpenToken} from "../../../contracts/token/IOpenToken.sol";
import {Payments} from "./Payments.sol";
import {ReentrantToken} from "./ReentrantToken.sol";

contract OperatorRegistryTest is Payments {
    uint256 private constant _BOND = 1000e18;

    uint32 private _operator;

    function setUp() public {
        deployPayments();
        _operator = registerOperator();
    }

    function _deposit(uint256 amount) private {
        vm.prank(OPERATOR_OWNER);
        operators.depositBond(_operator, amount);
    }

    function _requestUnbond(uint256 amount) private {
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(_operator, amount);
    }

    // Wiring

    function test_RevertWhen_WiredTwiceOrByAStrangerOrToNoContract() public {
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_AlreadyWired.selector, address(settlement)));
        operators.wire(address(token));
        assertEq(operators.settlement(), address(settlement), "settlement");

        OperatorRegistry fresh = new OperatorRegistry(IOpenToken(address(token)), windows());
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_InvalidSettlement.selector, BOB));
        fresh.wire(BOB);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotDeployer.selector, BOB));
        fresh.wire(address(settlement));
    }

    function test_RevertWhen_TheWindowsContradictEachOther() public {
        Windows memory w = windows();
        w.unbonding = 97 hours - 1;
        vm.expectRevert(abi.encodeWithSelector(WindowsLib.Windows_UnbondingTooShort.selector, 97 hours - 1, 97 hours));
        new OperatorRegistry(IOpenToken(address(token)), w);
    }

    // Registration

    function test_OperatorsAreNumberedFromOne() public {
        assertEq(_operator, 1, "first");
        assertEq(registerOperator(), 2, "second");
        assertEq(operators.operatorCount(), 2, "count");
        assertEq(operators.ownerOf(1), OPERATOR_OWNER, "owner");
        assertEq(bytes(operators.endpointOf(1)), "https://operator", "endpoint");
        assertEq(operators.ownerOf(3), address(0), "unknown");
        assertEq(operators.UNBONDING(), 5 days, "unbonding");
    }

    function test_OnlyTheSignerPosts() public {
        assertTrue(operators.isSigner(_operator, address(0x516)), "signer");
        assertFalse(operators.isSigner(_operator, OPERATOR_OWNER), "owner");
        assertFalse(operators.isSigner(99, address(0)), "nobody for an unknown operator");
        vm.prank(OPERATOR_OWNER);
        operators.setSigner(_operator, BOB);
        assertTrue(operators.isSigner(_operator, BOB), "new signer");
        assertFalse(operators.isSigner(_operator, address(0x516)), "old signer");
    }

    function test_TheOwnerChangesTheEndpoint() public {
        vm.prank(OPERATOR_OWNER);
        vm.expectEmit(address(operators));
        emit IOperatorRegistry.EndpointSet(_operator, "https://elsewhere");
        operators.setEndpoint(_operator, "https://elsewhere");
        assertEq(bytes(operators.endpointOf(_operator)), "https://elsewhere", "endpoint");
    }

    function test_RevertWhen_RegisteringWithoutEndpointOrSigner() public {
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_InvalidEndpoint.selector, 0, 256));
        operators.register("", BOB);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_InvalidEndpoint.selector, 257, 256));
        operators.register(string(new bytes(257)), BOB);
        vm.expectRevert(IOperatorRegistry.Operator_InvalidSigner.selector);
        operators.register("https://operator", address(0));
    }

    function test_RevertWhen_NotTheOwnerActs() public {
        _deposit(_BOND);
        bytes memory reason = abi.encodeWithSelector(IOperatorRegistry.Operator_NotOwner.selector, _operator, BOB);
        vm.startPrank(BOB);
        vm.expectRevert(reason);
        operators.setEndpoint(_operator, "https://b");
        vm.expectRevert(reason);
        operators.setSigner(_operator, BOB);
        vm.expectRevert(reason);
        operators.requestUnbond(_operator, 1);
        vm.expectRevert(reason);
        operators.cancelUnbond(_operator);
        vm.expectRevert(reason);
        operators.withdrawBond(_operator);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_Unknown.selector, 99));
        operators.setEndpoint(99, "https://b");
        vm.stopPrank();
    }

    // Bond

    function test_AnyoneAddsToABond() public {
        _deposit(_BOND);
        vm.prank(BOB);
        vm.expectEmit(address(operators));
        emit IOperatorRegistry.BondDeposited(_operator, BOB, 5e18, _BOND + 5e18);
        operators.depositBond(_operator, 5e18);
        assertEq(operators.bondOf(_operator), _BOND + 5e18, "bond");
        assertEq(operators.availableBondOf(_operator), _BOND + 5e18, "available");
        assertEq(token.balanceOf(address(operators)), _BOND + 5e18, "held");
    }

    function test_RevertWhen_DepositingNothingOrForNobodyOrBeyondMeasure() public {
        vm.expectRevert(IOperatorRegistry.Operator_ZeroAmount.selector);
        operators.depositBond(_operator, 0);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_Unknown.selector, 99));
        operators.depositBond(99, 1);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, type(uint256).max)
        );
        operators.depositBond(_operator, type(uint256).max);
    }

    function test_ADepositByPermitNeedsNoApproval() public {
        vm.prank(alice);
        token.approve(address(operators), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(operators), 7e18));
        vm.prank(alice);
        operators.depositBondWithPermit(_operator, 7e18, type(uint256).max, v, r, s);
        assertEq(operators.bondOf(_operator), 7e18, "bond");
    }

    function test_APermitUsedByAFrontRunnerDoesNotStopTheDeposit() public {
        vm.prank(alice);
        token.approve(address(operators), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(operators), 7e18));
        vm.prank(BOB);
        token.permit(alice, address(operators), 7e18, type(uint256).max, v, r, s);
        vm.prank(alice);
        operators.depositBondWithPermit(_operator, 7e18, type(uint256).max, v, r, s);
        assertEq(operators.bondOf(_operator), 7e18, "bond");
    }

    function test_ABondIsWithdrawnAfterTheUnbondingWindow() public {
        _deposit(_BOND);
        _requestUnbond(400e18);
        assertEq(operators.bondOf(_operator), _BOND, "whole bond");
        assertEq(operators.availableBondOf(_operator), 600e18, "available");
        (uint256 amount, uint40 readyAt) = operators.unbondingOf(_operator);
        assertEq(amount, 400e18, "amount");
        assertEq(readyAt, START + 5 days, "ready");

        vm.warp(readyAt - 1);
        vm.prank(OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_StillUnbonding.selector, _operator, readyAt));
        operators.withdrawBond(_operator);

        vm.warp(readyAt);
        vm.prank(OPERATOR_OWNER);
        assertEq(operators.withdrawBond(_operator), 400e18, "withdrawn");
        assertEq(operators.bondOf(_operator), 600e18, "bond");
        assertEq(token.balanceOf(OPERATOR_OWNER), RICH - 600e18, "received");

        vm.prank(OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotUnbonding.selector, _operator));
        operators.withdrawBond(_operator);
    }

    function test_ANewRequestReplacesTheOldOneAndStartsAnew() public {
        _deposit(_BOND);
        _requestUnbond(400e18);
        vm.warp(START + 4 days);
        _requestUnbond(500e18);
        (uint256 amount, uint40 readyAt) = operators.unbondingOf(_operator);
        assertEq(amount, 500e18, "amount");
        assertEq(readyAt, START + 9 days, "ready");
    }

    function test_ARequestCanBeTakenBack() public {
        _deposit(_BOND);
        _requestUnbond(400e18);
        vm.prank(OPERATOR_OWNER);
        operators.cancelUnbond(_operator);
        assertEq(operators.availableBondOf(_operator), _BOND, "available");
        vm.prank(OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotUnbonding.selector, _operator));
        operators.cancelUnbond(_operator);
    }

    function test_RevertWhen_UnbondingNothingOrTooMuch() public {
        _deposit(_BOND);
        vm.expectRevert(IOperatorRegistry.Operator_ZeroAmount.selector);
        _requestUnbond(0);
        vm.expectRevert(
            abi.encodeWithSelector(IOperatorRegistry.Operator_BondTooSmall.selector, _operator, _BOND + 1, _BOND)
        );
        _requestUnbond(_BOND + 1);
    }

    // Settlement

    function test_ASlashTakesTheWholeBondAndBurnsHalf() public {
        _deposit(_BOND + 1);
        _requestUnbond(900e18);
        vm.prank(address(settlement));
        (uint256 reward, uint256 burned) = operators.slash(_operator, BOB);
        assertEq(reward, _BOND / 2, "reward");
        assertEq(burned, _BOND / 2 + 1, "burned");
        assertEq(token.balanceOf(BOB), RICH + reward, "prover");
        assertEq(token.totalSupply(), token.INITIAL_SUPPLY() - burned, "supply");
        assertEq(operators.bondOf(_operator), 0, "bond");
        (uint256 amount, uint40 readyAt) = operators.unbondingOf(_operator);
        assertTrue(amount == 0 && readyAt == 0, "nothing left to withdraw");
        vm.warp(START + 6 days);
        vm.prank(OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotUnbonding.selector, _operator));
        operators.withdrawBond(_operator);
    }

    function test_ASlashOfNothingDoesNothing() public {
        vm.prank(address(settlement));
        (uint256 reward, uint256 burned) = operators.slash(_operator, BOB);
        assertTrue(reward == 0 && burned == 0, "nothing");
    }

    function test_ASlashLeavesOtherOperatorsAlone() public {
        _deposit(_BOND);
        uint32 other = registerOperator();
        vm.prank(BOB);
        operators.depositBond(other, 3e18);
        vm.prank(address(settlement));
        operators.slash(_operator, BOB);
        assertEq(operators.bondOf(other), 3e18, "other bond");
        assertEq(token.balanceOf(address(operators)), 3e18, "held");
    }

    function test_ADrawTakesUpToTheBondAndWhatIsBeingWithdrawnFirst() public {
        _deposit(_BOND);
        _requestUnbond(800e18);
        vm.startPrank(address(settlement));
        assertEq(operators.draw(_operator, 150e18), 150e18, "first");
        assertEq(operators.availableBondOf(_operator), 200e18, "available stays");
        (uint256 amount, ) = operators.unbondingOf(_operator);
        assertEq(amount, 650e18, "unbonding first");

        assertEq(operators.draw(_operator, 350e18), 350e18, "second");
        (amount, ) = operators.unbondingOf(_operator);
        assertEq(amount, 300e18, "unbonding again");
        assertEq(operators.availableBondOf(_operator), 200e18, "available still");

        assertEq(operators.draw(_operator, type(uint256).max), 500e18, "rest");
        assertEq(operators.draw(_operator, 1), 0, "nothing left");
        assertEq(token.balanceOf(address(settlement)), _BOND, "received");
        vm.stopPrank();

        vm.warp(START + 5 days);
        vm.prank(OPERATOR_OWNER);
        assertEq(operators.withdrawBond(_operator), 0, "nothing to withdraw");
    }

    function test_RevertWhen_NotTheSettlementSlashesOrDraws() public {
        _deposit(_BOND);
        vm.startPrank(OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotSettlement.selector, OPERATOR_OWNER));
        operators.slash(_operator, OPERATOR_OWNER);
        vm.expectRevert(abi.encodeWithSelector(IOperatorRegistry.Operator_NotSettlement.selector, OPERATOR_OWNER));
        operators.draw(_operator, 1);
        vm.stopPrank();
    }

    function test_ATokenThatCallsBackFindsTheDoorShut() public {
        ReentrantToken hostile = new ReentrantToken(address(this));
        OperatorRegistry registry = new OperatorRegistry(IOpenToken(address(hostile)), windows());
        registry.wire(address(hostile));
        hostile.approve(address(registry), type(uint256).max);
        uint32 operator = registry.register("https://operator", address(this));

        bytes[4] memory calls = [
            abi.encodeCall(registry.depositBond, (operator, 1)),
            abi.encodeCall(registry.withdrawBond, (operator)),
            abi.encodeCall(registry.slash, (operator, address(this))),
            abi.encodeCall(registry.draw, (operator, 1))
        ];
        for (uint256 i; i < calls.length; ++i) {
            hostile.arm(address(registry), calls[i]);
            registry.depositBond(operator, 10e18);
            assertTrue(hostile.called() && !hostile.succeeded(), "let in");
            assertEq(
                hostile.answer(),
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
                "guard"
            );
        }
        assertEq(registry.bondOf(operator), 40e18, "bond");
    }

    function testFuzz_ASlashNeverCreatesNorLosesAWei(uint128 bond) public {
        bond = uint128(bound(bond, 1, RICH));
        _deposit(bond);
        vm.prank(address(settlement));
        (uint256 reward, uint256 burned) = operators.slash(_operator, BOB);
        assertEq(reward + burned, bond, "sum");
        assertTrue(burned >= reward && burned - reward <= 1, "half");
        assertEq(token.balanceOf(address(operators)), 0, "held");
    }

    function test_RevertWhen_TheDepositorHasTooLittle() public {
        vm.prank(address(0x9));
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(operators), 0, 1)
        );
        operators.depositBond(_operator, 1);
    }
}
