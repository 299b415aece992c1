// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ProtocolTimelock} from "../../../contracts/governance/ProtocolTimelock.sol";
import {InitialParameters, ProtocolParameters} from "../../../contracts/settlement/ProtocolParameters.sol";
import {Windows} from "../../../contracts/settlement/Windows.sol";
import {TestBase} from "../TestBase.sol";

contract ProtocolTimelockTest is TestBase {
    uint256 private constant _FLOOR = 144 hours + 1;

    ProtocolTimelock private _timelock;

    function setUp() public {
        vm.warp(1_700_000_000);
        _timelock = deploy(7 days);
    }

    function deploy(uint256 delay) public returns (ProtocolTimelock) {
        address[] memory proposers = new address[](1);
        proposers[0] = address(this);
        return new ProtocolTimelock(delay, proposers, new address[](1), windows());
    }

    function windows() private pure returns (Windows memory) {
        return Windows(1 hours, 24 hours, 24 hours, 12 hours, 12 hours, 24 hours, 5 days, 5 days);
    }

    function _schedule(address target, bytes memory data, uint256 delay) private {
        _timelock.schedule(target, 0, data, 0, 0, delay);
    }

    function test_ItsDelayOutlastsThawAndChallenge() public view {
        assertEq(_timelock.FLOOR(), _FLOOR, "floor");
        assertEq(_timelock.getMinDelay(), 7 days, "delay");
    }

    function test_RevertWhen_TheDelayIsTooShort() public {
        vm.expectRevert(abi.encodeWithSelector(ProtocolTimelock.Timelock_DelayTooShort.selector, _FLOOR - 1, _FLOOR));
        this.deploy(_FLOOR - 1);
        this.deploy(_FLOOR);
    }

    function test_NoProposalLowersTheDelayBelowTheFloor() public {
        bytes memory data = abi.encodeCall(TimelockController.updateDelay, (0));
        _schedule(address(_timelock), data, 7 days);
        vm.warp(vm.getBlockTimestamp() + 7 days);
        _timelock.execute(address(_timelock), 0, data, 0, 0);
        assertEq(_timelock.getMinDelay(), _FLOOR, "delay");
        vm.expectRevert(
            abi.encodeWithSelector(TimelockController.TimelockInsufficientDelay.selector, _FLOOR - 1, _FLOOR)
        );
        _schedule(address(0xBEEF), "", _FLOOR - 1);
    }

    function test_AParameterChangesAfterTheDelayByAnyonesHand() public {
        ProtocolParameters parameters = new ProtocolParameters(
            address(_timelock),
            InitialParameters(20_000, 0, 0, address(1)),
            windows()
        );
        bytes memory data = abi.encodeCall(ProtocolParameters.setMinimumBond, (5e18));
        _schedule(address(parameters), data, 7 days);
        vm.warp(vm.getBlockTimestamp() + 7 days - 1);
        vm.expectRevert();
        _timelock.execute(address(parameters), 0, data, 0, 0);
        vm.warp(vm.getBlockTimestamp() + 1);
        vm.prank(address(0xCAFE));
        _timelock.execute(address(parameters), 0, data, 0, 0);
        assertEq(parameters.minimumBond(), 5e18, "bond");
    }
}
