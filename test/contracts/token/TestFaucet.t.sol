// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ITestFaucet} from "../../../contracts/token/ITestFaucet.sol";
import {OpenToken} from "../../../contracts/token/OpenToken.sol";
import {TestFaucet} from "../../../contracts/token/TestFaucet.sol";
import {TestBase} from "../TestBase.sol";

contract TestFaucetTest is TestBase {
    uint256 private constant _AMOUNT = 100e18;

    OpenToken private _token;
    TestFaucet private _faucet;

    function setUp() public {
        vm.warp(1_000_000);
        _token = new OpenToken(address(this));
        _faucet = new TestFaucet(_token, _AMOUNT);
        _token.transfer(address(_faucet), 250e18);
    }

    function test_AnAddressReceivesTheAmountOnceADay() public {
        _faucet.drip(address(1));
        assertEq(_token.balanceOf(address(1)), _AMOUNT, "first");
        assertEq(_faucet.nextDripAt(address(1)), vm.getBlockTimestamp() + 1 days, "next");

        vm.warp(vm.getBlockTimestamp() + 1 days - 1);
        vm.expectRevert(
            abi.encodeWithSelector(ITestFaucet.Faucet_TooEarly.selector, address(1), vm.getBlockTimestamp() + 1)
        );
        _faucet.drip(address(1));

        vm.warp(vm.getBlockTimestamp() + 1);
        _faucet.drip(address(1));
        assertEq(_token.balanceOf(address(1)), 2 * _AMOUNT, "second");
    }

    function test_OneAddressDoesNotDelayAnother() public {
        _faucet.drip(address(1));
        _faucet.drip(address(2));
        assertEq(_token.balanceOf(address(2)), _AMOUNT, "other");
    }

    function test_RevertWhen_Empty() public {
        _faucet.drip(address(1));
        _faucet.drip(address(2));
        vm.expectRevert(abi.encodeWithSelector(ITestFaucet.Faucet_Empty.selector, 50e18, _AMOUNT));
        _faucet.drip(address(3));
    }

    function test_RevertWhen_TheAmountIsZero() public {
        vm.expectRevert(ITestFaucet.Faucet_ZeroAmount.selector);
        new TestFaucet(_token, 0);
    }

    function test_RevertWhen_DeployedOnAMainNetwork() public {
        uint256[5] memory ids = [uint256(1), 10, 8453, 42_161, 1612];
        for (uint256 i; i < ids.length; ++i) {
            vm.chainId(ids[i]);
            vm.expectRevert(abi.encodeWithSelector(ITestFaucet.Faucet_MainNetwork.selector, ids[i]));
            new TestFaucet(_token, _AMOUNT);
        }
        vm.chainId(161_201);
        new TestFaucet(_token, _AMOUNT);
    }
}
