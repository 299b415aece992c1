// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IProtocolParameters} from "../../../contracts/settlement/IProtocolParameters.sol";
import {InitialParameters, ProtocolParameters} from "../../../contracts/settlement/ProtocolParameters.sol";
import {Windows} from "../../../contracts/settlement/Windows.sol";
import {TestBase} from "../TestBase.sol";

contract ProtocolParametersTest is TestBase {
    uint48 private constant _START = 1_700_000_000;
    uint48 private constant _LAG = 25 hours;

    ProtocolParameters private _parameters;

    function setUp() public {
        vm.warp(_START);
        _parameters = deploy(InitialParameters(20_000, 1000e18, 0.001 ether, address(0x7EA)));
    }

    function deploy(InitialParameters memory initial) public returns (ProtocolParameters) {
        Windows memory w = Windows(1 hours, 24 hours, 24 hours, 12 hours, 12 hours, 24 hours, 5 days, 5 days);
        return new ProtocolParameters(address(this), initial, w);
    }

    function test_TheFirstParametersHoldFromTheBeginningOfTime() public view {
        assertEq(_parameters.protocolShareAt(0), 20_000, "then");
        assertEq(_parameters.protocolShareAt(_START), 20_000, "now");
        assertEq(_parameters.protocolShareAt(type(uint256).max), 20_000, "ever");
        assertEq(_parameters.minimumBond(), 1000e18, "bond");
        assertEq(_parameters.demandFee(), 0.001 ether, "fee");
        assertEq(_parameters.treasury(), address(0x7EA), "treasury");
        assertEq(_parameters.LAG(), _LAG, "lag");
    }

    function test_ANewShareHoldsFromItsTimeOnAndThePastStays() public {
        uint48 from = _START + _LAG + 1;
        _parameters.scheduleProtocolShare(50_000, from);
        assertEq(_parameters.protocolShareAt(from - 1), 20_000, "before");
        assertEq(_parameters.protocolShareAt(from), 50_000, "from then");
        vm.warp(from + 10 days);
        _parameters.scheduleProtocolShare(0, from + 20 days);
        assertEq(_parameters.protocolShareAt(from - 1), 20_000, "first");
        assertEq(_parameters.protocolShareAt(from + 20 days - 1), 50_000, "second");
        assertEq(_parameters.protocolShareAt(from + 20 days), 0, "third");
    }

    function test_TheLastAnnouncementCanBeReplacedWhileItIsFarEnoughAhead() public {
        uint48 from = _START + 10 days;
        _parameters.scheduleProtocolShare(50_000, from);
        _parameters.scheduleProtocolShare(30_000, from);
        assertEq(_parameters.protocolShareAt(from), 30_000, "replaced");
    }

    function test_RevertWhen_AShareIsAnnouncedTooLateTooEarlyOrOutOfOrder() public {
        uint256 latest = uint256(_START) + 365 days;
        vm.expectRevert(
            abi.encodeWithSelector(
                IProtocolParameters.Parameters_InvalidTime.selector,
                _START + _LAG,
                _START + _LAG + 1,
                latest
            )
        );
        _parameters.scheduleProtocolShare(1, _START + _LAG);
        vm.expectRevert(
            abi.encodeWithSelector(
                IProtocolParameters.Parameters_InvalidTime.selector,
                latest + 1,
                _START + _LAG + 1,
                latest
            )
        );
        _parameters.scheduleProtocolShare(1, uint48(latest + 1));
        _parameters.scheduleProtocolShare(1, _START + 20 days);
        vm.expectRevert(
            abi.encodeWithSelector(
                IProtocolParameters.Parameters_InvalidTime.selector,
                _START + 20 days - 1,
                _START + 20 days,
                latest
            )
        );
        _parameters.scheduleProtocolShare(1, _START + 20 days - 1);
    }

    function test_RevertWhen_TheShareIsAboveFivePercent() public {
        bytes memory reason = abi.encodeWithSelector(
            IProtocolParameters.Parameters_ShareTooHigh.selector,
            50_001,
            50_000
        );
        vm.expectRevert(reason);
        _parameters.scheduleProtocolShare(50_001, _START + 10 days);
        vm.expectRevert(reason);
        this.deploy(InitialParameters(50_001, 0, 0, address(1)));
    }

    function test_TheOwnerSetsBondFeeAndTreasury() public {
        vm.expectEmit(address(_parameters));
        emit IProtocolParameters.MinimumBondSet(2e18);
        _parameters.setMinimumBond(2e18);
        vm.expectEmit(address(_parameters));
        emit IProtocolParameters.DemandFeeSet(3);
        _parameters.setDemandFee(3);
        vm.expectEmit(address(_parameters));
        emit IProtocolParameters.TreasurySet(address(4));
        _parameters.setTreasury(address(4));
        assertEq(_parameters.minimumBond(), 2e18, "bond");
        assertEq(_parameters.demandFee(), 3, "fee");
        assertEq(_parameters.treasury(), address(4), "treasury");
    }

    function test_RevertWhen_AValueIsOutOfBounds() public {
        vm.expectRevert(
            abi.encodeWithSelector(IProtocolParameters.Parameters_TooHigh.selector, 10_000_000e18 + 1, 10_000_000e18)
        );
        _parameters.setMinimumBond(10_000_000e18 + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IProtocolParameters.Parameters_TooHigh.selector, 0.1 ether + 1, 0.1 ether)
        );
        _parameters.setDemandFee(0.1 ether + 1);
        vm.expectRevert(IProtocolParameters.Parameters_InvalidTreasury.selector);
        _parameters.setTreasury(address(0));
    }

    function test_RevertWhen_NotTheOwnerSetsAnything() public {
        bytes memory reason = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(9));
        vm.startPrank(address(9));
        vm.expectRevert(reason);
        _parameters.scheduleProtocolShare(1, _START + 10 days);
        vm.expectRevert(reason);
        _parameters.setMinimumBond(1);
        vm.expectRevert(reason);
        _parameters.setDemandFee(1);
        vm.expectRevert(reason);
        _parameters.setTreasury(address(9));
        vm.stopPrank();
    }

    /// @dev No announcement changes the share at a time that a batch posted now may look at.
    function testFuzz_NoAnnouncementChangesWhatABatchMaySee(uint32[8] memory shares, uint48[8] memory times) public {
        for (uint256 i; i < 8; ++i) {
            uint256 time = vm.getBlockTimestamp();
            uint32 oldest = _parameters.protocolShareAt(time - _LAG);
            uint32 newest = _parameters.protocolShareAt(time);
            try _parameters.scheduleProtocolShare(shares[i] % 50_001, (times[i] % 400 days) + uint48(time)) {} catch {}
            assertEq(_parameters.protocolShareAt(time - _LAG), oldest, "oldest");
            assertEq(_parameters.protocolShareAt(time), newest, "newest");
            vm.warp(time + (times[i] % 30 days));
        }
    }
}
