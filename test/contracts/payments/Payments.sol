// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {OperatorRegistry} from "../../../contracts/payments/OperatorRegistry.sol";
import {PaymentChannels} from "../../../contracts/payments/PaymentChannels.sol";
import {Windows} from "../../../contracts/settlement/Windows.sol";
import {IOpenToken} from "../../../contracts/token/IOpenToken.sol";
import {OpenToken} from "../../../contracts/token/OpenToken.sol";
import {TestBase} from "../TestBase.sol";
import {SettlementStub} from "./SettlementStub.sol";

/// @notice Operators and channels, wired to a stub of the settlement, and people with OPEN.
abstract contract Payments is TestBase {
    uint256 internal constant ALICE_KEY = 0xA11CE;
    uint256 internal constant SESSION_KEY = 0x5E55;
    uint256 internal constant START = 1_700_000_000;
    uint256 internal constant RICH = 1_000_000e18;

    address internal constant OPERATOR_OWNER = address(0x0500);
    address internal constant BOB = address(0xB0B);

    OpenToken internal token;
    OperatorRegistry internal operators;
    PaymentChannels internal channels;
    SettlementStub internal settlement;
    address internal alice;
    address internal session;

    function deployPayments() internal {
        vm.warp(START);
        alice = vm.addr(ALICE_KEY);
        session = vm.addr(SESSION_KEY);
        token = new OpenToken(address(this));
        operators = new OperatorRegistry(IOpenToken(address(token)), windows());
        channels = new PaymentChannels(IOpenToken(address(token)), operators, windows());
        settlement = new SettlementStub(token);
        settlement.setChannels(address(channels));
        operators.wire(address(settlement));
        channels.wire(address(settlement));
        _fund(alice);
        _fund(BOB);
        _fund(OPERATOR_OWNER);
    }

    /// @dev The windows of a main network.
    function windows() internal pure returns (Windows memory) {
        return Windows(1 hours, 24 hours, 24 hours, 12 hours, 12 hours, 24 hours, 5 days, 5 days);
    }

    function registerOperator() internal returns (uint32) {
        vm.prank(OPERATOR_OWNER);
        return operators.register("https://operator", address(0x516));
    }

    function openChannel(uint32 operator, uint256 amount) internal returns (uint32) {
        vm.prank(alice);
        return channels.open(operator, session, amount);
    }

    function permitDigest(address owner, address spender, uint256 value) internal view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                spender,
                value,
                token.nonces(owner),
                type(uint256).max
            )
        );
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
    }

    function _fund(address account) private {
        token.transfer(account, RICH);
        vm.startPrank(account);
        token.approve(address(channels), type(uint256).max);
        token.approve(address(operators), type(uint256).max);
        vm.stopPrank();
    }
}
