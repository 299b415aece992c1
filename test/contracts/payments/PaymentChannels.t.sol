// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IPaymentChannels} from "../../../contracts/payments/IPaymentChannels.sol";
import {PaymentChannels} from "../../../contracts/payments/PaymentChannels.sol";
import {Windows, WindowsLib} from "../../../contracts/settlement/Windows.sol";
import {IOpenToken} from "../../../contracts/token/IOpenToken.sol";
import {Payments} from "./Payments.sol";
import {ReentrantToken} from "./ReentrantToken.sol";

/// @notice Opening, depositing, thawing and withdrawing. Collecting is in Collect.t.sol.
contract PaymentChannelsTest is Payments {
    uint256 private constant _DEPOSIT = 100e18;

    uint32 private _operator;

    function setUp() public {
        deployPayments();
        _operator = registerOperator();
    }

    function _startThaw(uint32 channel, uint256 amount) private {
        vm.prank(alice);
        channels.startThaw(channel, amount);
    }

    // Wiring

    function test_RevertWhen_WiredTwiceOrByAStrangerOrToNoContract() public {
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_AlreadyWired.selector, address(settlement)));
        channels.wire(address(token));
        assertEq(channels.settlement(), address(settlement), "settlement");

        PaymentChannels fresh = new PaymentChannels(IOpenToken(address(token)), operators, windows());
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_InvalidSettlement.selector, BOB));
        fresh.wire(BOB);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_NotDeployer.selector, BOB));
        fresh.wire(address(settlement));
    }

    function test_RevertWhen_TheWindowsContradictEachOther() public {
        Windows memory w = windows();
        w.thaw = 98 hours - 1;
        vm.expectRevert(abi.encodeWithSelector(WindowsLib.Windows_ThawTooShort.selector, 98 hours - 1, 98 hours));
        new PaymentChannels(IOpenToken(address(token)), operators, w);
    }

    function test_TheDomainIsTheProtocols() public view {
        (, string memory name, string memory version, uint256 chainId, address contract_, , ) = channels.eip712Domain();
        assertEq(bytes(name), "OpenLedger PaymentChannels", "name");
        assertEq(bytes(version), "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(contract_, address(channels), "contract");
    }

    // Opening

    function test_AChannelIsOnePayersOneOperatorsAndOneKeysForGood() public {
        vm.expectEmit(address(channels));
        emit IPaymentChannels.ChannelOpened(1, alice, _operator, session);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Deposited(1, alice, _DEPOSIT, _DEPOSIT);
        assertEq(openChannel(_operator, _DEPOSIT), 1, "first id");
        assertEq(openChannel(_operator, 0), 2, "second id");
        (uint32 operator, address key, uint128 held) = channels.channelOf(1);
        assertEq(operator, _operator, "operator");
        assertEq(key, session, "session key");
        assertEq(held, _DEPOSIT, "deposit");
        assertEq(channels.payerOf(1), alice, "payer");
        assertEq(channels.collectedOf(1), 0, "collected");
        assertEq(channels.channelCount(), 2, "count");
        assertEq(token.balanceOf(address(channels)), _DEPOSIT, "held");
    }

    function testFuzz_AnUnknownChannelIsAllZeros(uint32 channel) public view {
        (uint32 operator, address key, uint128 held) = channels.channelOf(channel);
        assertTrue(operator == 0 && key == address(0) && held == 0, "channel");
        (uint128 thawing, uint40 readyAt) = channels.thawOf(channel);
        assertTrue(thawing == 0 && readyAt == 0, "thaw");
        assertEq(channels.payerOf(channel), address(0), "payer");
    }

    function test_RevertWhen_OpeningToNobodyOrWithoutAKey() public {
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_UnknownOperator.selector, 99));
        channels.open(99, session, 0);
        vm.expectRevert(IPaymentChannels.Channels_InvalidSessionKey.selector);
        channels.open(_operator, address(0), 0);
    }

    function test_AChannelOpensByPermit() public {
        vm.prank(alice);
        token.approve(address(channels), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(channels), _DEPOSIT));
        vm.prank(alice);
        uint32 channel = channels.openWithPermit(_operator, session, _DEPOSIT, type(uint256).max, v, r, s);
        (, , uint128 held) = channels.channelOf(channel);
        assertEq(held, _DEPOSIT, "deposit");
    }

    function test_APermitUsedByAFrontRunnerStopsNeitherOpeningNorDepositing() public {
        vm.prank(alice);
        token.approve(address(channels), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(channels), _DEPOSIT));
        vm.prank(BOB);
        token.permit(alice, address(channels), _DEPOSIT, type(uint256).max, v, r, s);
        vm.prank(alice);
        uint32 channel = channels.openWithPermit(_operator, session, _DEPOSIT, type(uint256).max, v, r, s);

        (v, r, s) = vm.sign(ALICE_KEY, permitDigest(alice, address(channels), 1e18));
        vm.prank(BOB);
        token.permit(alice, address(channels), 1e18, type(uint256).max, v, r, s);
        vm.prank(alice);
        channels.depositWithPermit(channel, 1e18, type(uint256).max, v, r, s);
        (, , uint128 held) = channels.channelOf(channel);
        assertEq(held, _DEPOSIT + 1e18, "deposit");
    }

    function test_AFrontRunnerCannotOpenAChannelOfItsOwnWithAnothersPermit() public {
        vm.prank(alice);
        token.approve(address(channels), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(channels), _DEPOSIT));
        vm.startPrank(BOB);
        token.approve(address(channels), 0);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(channels), 0, _DEPOSIT)
        );
        channels.openWithPermit(_operator, BOB, _DEPOSIT, type(uint256).max, v, r, s);
        vm.stopPrank();
    }

    function test_RevertWhen_ThePermitIsWorthlessAndThereIsNoApproval() public {
        vm.startPrank(alice);
        token.approve(address(channels), 0);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(channels), 0, 1)
        );
        channels.openWithPermit(_operator, session, 1, type(uint256).max, 27, bytes32(uint256(1)), bytes32(uint256(1)));
        vm.stopPrank();
    }

    function test_APayerWhoseAccountHasCodeOpensByPermitAndWithdraws() public {
        // EIP-7702: the account of a key holder that delegates to a contract.
        vm.etch(alice, abi.encodePacked(hex"ef0100", address(operators)));
        assertEq(alice.code.length, 23, "code");
        vm.prank(alice);
        token.approve(address(channels), 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ALICE_KEY, permitDigest(alice, address(channels), _DEPOSIT));
        vm.prank(alice);
        uint32 channel = channels.openWithPermit(_operator, session, _DEPOSIT, type(uint256).max, v, r, s);
        _startThaw(channel, _DEPOSIT);
        vm.warp(START + 5 days);
        vm.prank(alice);
        assertEq(channels.withdraw(channel), _DEPOSIT, "withdrawn");
    }

    // Depositing

    function test_AnyoneAddsToAChannelAndThePayerWithdrawsIt() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        vm.prank(BOB);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Deposited(channel, BOB, 5e18, _DEPOSIT + 5e18);
        channels.deposit(channel, 5e18);
        _startThaw(channel, _DEPOSIT + 5e18);
        vm.warp(START + 5 days);
        vm.prank(alice);
        channels.withdraw(channel);
        assertEq(token.balanceOf(alice), RICH + 5e18, "payer");
    }

    function test_RevertWhen_DepositingNothingOrToNobodyOrBeyondMeasure() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        vm.startPrank(alice);
        vm.expectRevert(IPaymentChannels.Channels_ZeroAmount.selector);
        channels.deposit(channel, 0);
        vm.expectRevert(IPaymentChannels.Channels_ZeroAmount.selector);
        channels.depositWithPermit(channel, 0, 0, 27, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_Unknown.selector, 99));
        channels.deposit(99, 1);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_Unknown.selector, 99));
        channels.depositWithPermit(99, 1, 0, 27, 0, 0);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, type(uint256).max)
        );
        channels.deposit(channel, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(
                SafeCast.SafeCastOverflowedUintDowncast.selector,
                128,
                _DEPOSIT + uint256(type(uint128).max)
            )
        );
        channels.deposit(channel, type(uint128).max);
        vm.stopPrank();
    }

    // Thawing

    function test_AThawLetsExactlyItsAmountOutOnce() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        vm.prank(alice);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.ThawStarted(channel, 30e18, uint40(START + 5 days));
        channels.startThaw(channel, 30e18);
        (uint128 thawing, uint40 readyAt) = channels.thawOf(channel);
        assertEq(thawing, 30e18, "thawing");

        vm.warp(readyAt - 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_StillThawing.selector, channel, readyAt));
        channels.withdraw(channel);

        vm.warp(readyAt);
        vm.prank(alice);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Withdrawn(channel, alice, 30e18, 70e18);
        assertEq(channels.withdraw(channel), 30e18, "withdrawn");
        (, , uint128 held) = channels.channelOf(channel);
        assertEq(held, 70e18, "deposit");

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_NotThawing.selector, channel));
        channels.withdraw(channel);
    }

    function test_ADepositDuringAThawIsNotWithdrawnWithIt() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        _startThaw(channel, _DEPOSIT);
        vm.prank(alice);
        channels.deposit(channel, 40e18);
        vm.warp(START + 5 days);
        vm.prank(alice);
        assertEq(channels.withdraw(channel), _DEPOSIT, "withdrawn");
        (, , uint128 held) = channels.channelOf(channel);
        assertEq(held, 40e18, "deposit");
    }

    function test_ANewThawReplacesTheOldOneAndStartsAnew() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        _startThaw(channel, 10e18);
        vm.warp(START + 4 days);
        _startThaw(channel, 90e18);
        vm.warp(START + 5 days);
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentChannels.Channels_StillThawing.selector, channel, START + 9 days)
        );
        channels.withdraw(channel);
    }

    function test_AThawCanBeTakenBack() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        _startThaw(channel, 10e18);
        vm.prank(alice);
        channels.cancelThaw(channel);
        (uint128 thawing, uint40 readyAt) = channels.thawOf(channel);
        assertTrue(thawing == 0 && readyAt == 0, "thaw");
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_NotThawing.selector, channel));
        channels.cancelThaw(channel);
        vm.warp(START + 6 days);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_NotThawing.selector, channel));
        channels.withdraw(channel);
        vm.stopPrank();
    }

    function test_RevertWhen_ThawingNothingOrMoreThanThereIs() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        vm.expectRevert(IPaymentChannels.Channels_ZeroAmount.selector);
        _startThaw(channel, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentChannels.Channels_BalanceTooSmall.selector, channel, _DEPOSIT + 1, _DEPOSIT)
        );
        _startThaw(channel, _DEPOSIT + 1);
    }

    function test_RevertWhen_NotThePayerActs() public {
        uint32 channel = openChannel(_operator, _DEPOSIT);
        bytes memory reason = abi.encodeWithSelector(IPaymentChannels.Channels_NotPayer.selector, channel, session);
        vm.startPrank(session);
        vm.expectRevert(reason);
        channels.startThaw(channel, 1);
        vm.expectRevert(reason);
        channels.cancelThaw(channel);
        vm.expectRevert(reason);
        channels.withdraw(channel);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_Unknown.selector, 99));
        channels.startThaw(99, 1);
        vm.stopPrank();
    }

    function testFuzz_WhatIsPaidInComesOutAgain(uint128 first, uint128 second, uint128 out) public {
        first = uint128(bound(first, 1, RICH / 2));
        second = uint128(bound(second, 1, RICH / 2));
        out = uint128(bound(out, 1, uint256(first) + second));
        uint32 channel = openChannel(_operator, first);
        vm.prank(alice);
        channels.deposit(channel, second);
        _startThaw(channel, out);
        vm.warp(START + 5 days);
        vm.prank(alice);
        channels.withdraw(channel);
        (, , uint128 held) = channels.channelOf(channel);
        assertEq(held, uint256(first) + second - out, "deposit");
        assertEq(token.balanceOf(address(channels)), held, "held");
        assertEq(token.balanceOf(alice), RICH - held, "payer");
    }

    // A token that calls back

    function test_ATokenThatCallsBackFindsTheDoorShut() public {
        ReentrantToken hostile = new ReentrantToken(address(this));
        PaymentChannels target = new PaymentChannels(IOpenToken(address(hostile)), operators, windows());
        hostile.approve(address(target), type(uint256).max);
        uint32 channel = target.open(_operator, session, 10e18);

        bytes[5] memory calls = [
            abi.encodeCall(target.open, (_operator, session, 1)),
            abi.encodeCall(target.openWithPermit, (_operator, session, 1, 0, 27, 0, 0)),
            abi.encodeCall(target.deposit, (channel, 1)),
            abi.encodeCall(target.depositWithPermit, (channel, 1, 0, 27, 0, 0)),
            abi.encodeCall(target.withdraw, (channel))
        ];
        for (uint256 i; i < calls.length; ++i) {
            hostile.arm(address(target), calls[i]);
            target.deposit(channel, 1e18);
            assertTrue(hostile.called() && !hostile.succeeded(), "let in");
            assertEq(
                hostile.answer(),
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
                "guard"
            );
        }
        // What needs no guard finds the books in order.
        target.startThaw(channel, 15e18);
        vm.warp(START + 5 days);
        hostile.arm(address(target), abi.encodeCall(target.withdraw, (channel)));
        assertEq(target.withdraw(channel), 15e18, "withdrawn once");
        assertTrue(hostile.called() && !hostile.succeeded(), "withdrawn twice");
        assertEq(hostile.balanceOf(address(target)), 0, "held");
    }
}
