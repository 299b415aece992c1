// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Collection, IPaymentChannels} from "../../../contracts/payments/IPaymentChannels.sol";
import {PaymentChannels} from "../../../contracts/payments/PaymentChannels.sol";
import {SparseMultiproof} from "../../../contracts/settlement/libraries/SparseMultiproof.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {ChannelState} from "../../../contracts/settlement/types/State.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";
import {IOpenToken} from "../../../contracts/token/IOpenToken.sol";
import {Collecting} from "./Collecting.sol";
import {ReentrantToken} from "./ReentrantToken.sol";
import {SettlementStub} from "./SettlementStub.sol";
import {SparseTree} from "./SparseTree.sol";

contract CollectTest is Collecting {
    uint256 private constant _DEPOSIT = 100e18;
    uint256 private constant _ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    uint32 private _operator;
    uint32 private _channel;

    function setUp() public {
        deployPayments();
        _operator = registerOperator();
        _channel = openChannel(_operator, _DEPOSIT);
    }

    /// @dev Collects one channel with the given voucher and signature.
    function _collect(Leaf memory leaf, Voucher memory voucher, bytes memory signature) private returns (uint256) {
        return _collectFor(_operator, leaf, voucher, signature);
    }

    function _collectFor(
        uint32 operator,
        Leaf memory leaf,
        Voucher memory voucher,
        bytes memory signature
    ) private returns (uint256) {
        BatchHeader memory header = finalise(operator, list(leaf));
        SparseTree.Proof memory proof = prove(list(leaf), allOf(1));
        Collection[] memory collections = new Collection[](1);
        collections[0] = collectionWith(voucher, signature, leaf.state);
        return this.collect(header, collections, proof);
    }

    /// @dev External, so that expectRevert sees the call to collect and not those that build it.
    function collect(
        BatchHeader memory header,
        Collection[] memory collections,
        SparseTree.Proof memory proof
    ) external returns (uint256) {
        return channels.collect(header, collections, proof.siblings, proof.bitmap);
    }

    function _expectInvalidSignature(Voucher memory voucher) private {
        _expect(
            abi.encodeWithSelector(
                IPaymentChannels.Channels_InvalidSignature.selector,
                voucher.channel,
                digestOf(channels, voucher)
            )
        );
    }

    /// @dev Reasons are compared after the call: what builds a proof calls cheatcodes, which would take the expectation.
    bytes private _expected;

    function _expect(bytes memory reason) private {
        _expected = reason;
    }

    function _refused(uint32 operator, Leaf memory leaf, Voucher memory voucher, bytes memory signature) private {
        BatchHeader memory header = finalise(operator, list(leaf));
        SparseTree.Proof memory proof = prove(list(leaf), allOf(1));
        Collection[] memory collections = new Collection[](1);
        collections[0] = collectionWith(voucher, signature, leaf.state);
        _refusedCall(header, collections, proof);
    }

    function _refusedCall(
        BatchHeader memory header,
        Collection[] memory collections,
        SparseTree.Proof memory proof
    ) private {
        try this.collect(header, collections, proof) {
            assertTrue(false, "collected");
        } catch (bytes memory reason) {
            assertEq(reason, _expected, "reason");
        }
    }

    // What is paid

    function test_WhatWasSpentGoesToTheOperatorsPool() public {
        Leaf memory leaf = leafOf(_channel, 30e18);
        BatchHeader memory header = finalise(_operator, list(leaf));
        vm.prank(BOB);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Collected(_channel, 30e18);
        assertEq(collectAll(header, list(leaf)), 30e18, "amount");
        assertEq(settlement.poolOf(_operator), 30e18, "pool");
        assertEq(token.balanceOf(address(settlement)), 30e18, "moved");
        assertEq(channels.collectedOf(_channel), 30e18, "collected");
        (, , uint128 held) = channels.channelOf(_channel);
        assertEq(held, _DEPOSIT, "the deposit is not reduced");
    }

    function test_CollectingAgainPaysNothingAndTouchesNothing() public {
        Leaf memory leaf = leafOf(_channel, 30e18);
        BatchHeader memory header = finalise(_operator, list(leaf));
        collectAll(header, list(leaf));
        assertEq(collectAll(header, list(leaf)), 0, "amount");
        assertEq(settlement.credits(), 1, "credited once");
        assertEq(token.balanceOf(address(settlement)), 30e18, "moved once");
    }

    function test_ALaterStatePaysTheDifference() public {
        collectAll(finalise(_operator, list(leafOf(_channel, 30e18))), list(leafOf(_channel, 30e18)));
        Leaf memory later = leafOf(_channel, 45e18);
        assertEq(collectAll(finalise(_operator, list(later)), list(later)), 15e18, "amount");
        assertEq(channels.collectedOf(_channel), 45e18, "collected");
    }

    function test_AVoucherWithAHigherCapServesAsWell() public {
        Leaf memory leaf = leafOf(_channel, 30e18);
        Voucher memory voucher = voucherOf(_channel, 99e18);
        assertEq(_collect(leaf, voucher, signed(voucher, SESSION_KEY)), 30e18, "no more than spent");
    }

    function test_ManyChannelsTakeOneTransferAndOneCredit() public {
        Leaf[] memory leaves = new Leaf[](5);
        for (uint32 i; i < 5; ++i) {
            uint32 channel = i == 0 ? _channel : openChannel(_operator, _DEPOSIT);
            leaves[i] = leafOf(channel, uint128((i + 1) * 1e18));
        }
        assertEq(collectAll(finalise(_operator, leaves), leaves), 15e18, "amount");
        assertEq(settlement.credits(), 1, "credits");
    }

    function test_SomeOfTheChannelsCanBeCollected() public {
        Leaf[] memory leaves = new Leaf[](3);
        for (uint32 i; i < 3; ++i) {
            leaves[i] = leafOf(i == 0 ? _channel : openChannel(_operator, _DEPOSIT), 2e18);
        }
        bool[] memory targets = new bool[](3);
        targets[1] = true;
        BatchHeader memory header = finalise(_operator, leaves);
        SparseTree.Proof memory proof = prove(leaves, targets);
        assertEq(this.collect(header, collectionsOf(list(leaves[1])), proof), 2e18, "amount");
        assertEq(channels.collectedOf(leaves[1].channel), 2e18, "collected");
        assertEq(channels.collectedOf(leaves[0].channel), 0, "others are not");
    }

    function test_AfterAWithdrawalOnlyWhatIsLeftIsCollectedAndATopUpPaysTheRest() public {
        vm.prank(alice);
        channels.startThaw(_channel, 80e18);
        vm.warp(START + 5 days);
        vm.prank(alice);
        channels.withdraw(_channel);
        Leaf memory leaf = leafOf(_channel, 50e18);
        BatchHeader memory header = finalise(_operator, list(leaf));
        assertEq(collectAll(header, list(leaf)), 20e18, "what is left");
        assertEq(token.balanceOf(address(channels)), 0, "held");
        vm.prank(alice);
        channels.deposit(_channel, 100e18);
        assertEq(collectAll(header, list(leaf)), 30e18, "the rest");
    }

    function test_WhatIsCollectedDuringAThawIsNotWithdrawn() public {
        vm.prank(alice);
        channels.startThaw(_channel, 80e18);
        Leaf memory leaf = leafOf(_channel, 50e18);
        collectAll(finalise(_operator, list(leaf)), list(leaf));
        vm.warp(START + 5 days);
        vm.prank(alice);
        assertEq(channels.withdraw(_channel), 50e18, "withdrawn");
        assertEq(token.balanceOf(address(channels)), 0, "held");
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.Channels_BalanceTooSmall.selector, _channel, 1, 0));
        channels.startThaw(_channel, 1);
    }

    function test_AThawThatWasCollectedWholePaysNothing() public {
        vm.prank(alice);
        channels.startThaw(_channel, _DEPOSIT);
        Leaf memory leaf = leafOf(_channel, uint128(_DEPOSIT));
        collectAll(finalise(_operator, list(leaf)), list(leaf));
        vm.warp(START + 5 days);
        vm.prank(alice);
        assertEq(channels.withdraw(_channel), 0, "withdrawn");
    }

    function test_AFinalStateThatFellBackPaysNothing() public {
        collectAll(finalise(_operator, list(leafOf(_channel, 30e18))), list(leafOf(_channel, 30e18)));
        Leaf memory lower = leafOf(_channel, 10e18);
        assertEq(collectAll(finalise(_operator, list(lower)), list(lower)), 0, "amount");
        assertEq(channels.collectedOf(_channel), 30e18, "collected");
    }

    function test_ASessionKeyWhoseAccountHasCodeIsJudgedByItsSignatureAlone() public {
        // EIP-7702: no branch on code, no ERC-1271.
        vm.etch(session, abi.encodePacked(hex"ef0100", address(settlement)));
        Leaf memory leaf = leafOf(_channel, 30e18);
        assertEq(collectAll(finalise(_operator, list(leaf)), list(leaf)), 30e18, "amount");
    }

    /// @dev P1: whatever states an operator gets through, a channel loses at most the highest cap signed, and its deposit.
    function testFuzz_AChannelNeverLosesMoreThanItSignedAndHolds(
        uint128[6] memory spends,
        uint128[6] memory caps
    ) public {
        uint256 highest;
        uint256 due;
        for (uint256 i; i < 6; ++i) {
            uint128 spent = uint128(bound(spends[i], 1, 150e18));
            uint128 cap = uint128(bound(caps[i], 1, 150e18));
            Voucher memory voucher = voucherOf(_channel, cap);
            if (cap > highest) highest = cap;
            if (cap < spent) {
                _expect(abi.encodeWithSelector(IPaymentChannels.Channels_CapTooSmall.selector, _channel, cap, spent));
                _refused(_operator, leafOf(_channel, spent), voucher, signed(voucher, SESSION_KEY));
            } else {
                _collect(leafOf(_channel, spent), voucher, signed(voucher, SESSION_KEY));
                uint256 payable_ = spent < _DEPOSIT ? spent : _DEPOSIT;
                if (payable_ > due) due = payable_;
            }
            assertEq(channels.collectedOf(_channel), due, "collected");
            assertTrue(channels.collectedOf(_channel) <= highest, "more than signed");
        }
        assertEq(token.balanceOf(address(channels)), _DEPOSIT - due, "held");
        assertEq(settlement.poolOf(_operator), due, "pool");
    }

    // What is refused

    function test_RevertWhen_TheCapDoesNotCoverWhatWasSpent() public {
        Voucher memory voucher = voucherOf(_channel, 30e18 - 1);
        _expect(abi.encodeWithSelector(IPaymentChannels.Channels_CapTooSmall.selector, _channel, 30e18 - 1, 30e18));
        _refused(_operator, leafOf(_channel, 30e18), voucher, signed(voucher, SESSION_KEY));
    }

    function test_RevertWhen_TheVoucherIsNotTheSessionKeys() public {
        Voucher memory voucher = voucherOf(_channel, 30e18);
        // Not even the payer's.
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(_channel, 30e18), voucher, signed(voucher, ALICE_KEY));
    }

    function test_RevertWhen_AFieldOfTheVoucherWasChanged() public {
        Voucher memory voucher = voucherOf(_channel, 10e18);
        bytes memory signature = signed(voucher, SESSION_KEY);
        voucher.cap = 30e18;
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(_channel, 30e18), voucher, signature);
    }

    function test_RevertWhen_TheSignatureIsTheTwinWithAHighS() public {
        Voucher memory voucher = voucherOf(_channel, 30e18);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digestOf(channels, voucher));
        _expectInvalidSignature(voucher);
        _refused(
            _operator,
            leafOf(_channel, 30e18),
            voucher,
            abi.encodePacked(r, bytes32(_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27))
        );
    }

    function test_RevertWhen_TheSignatureHasAnotherFormOrIsForged() public {
        Voucher memory voucher = voucherOf(_channel, 30e18);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digestOf(channels, voucher));
        bytes[3] memory signatures = [
            abi.encodePacked(r, s, v - 27),
            abi.encodePacked(r, s, v == 27 ? uint8(28) : uint8(27)),
            new bytes(65)
        ];
        for (uint256 i; i < signatures.length; ++i) {
            _expectInvalidSignature(voucher);
            _refused(_operator, leafOf(_channel, 30e18), voucher, signatures[i]);
        }
    }

    function testFuzz_RandomSignaturesAreRefused(bytes32 r, bytes32 s, uint8 v) public {
        Voucher memory voucher = voucherOf(_channel, 30e18);
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(_channel, 30e18), voucher, abi.encodePacked(r, s, v));
    }

    function test_AFieldWithDirtyHighBitsIsNotTheOneThatWasSigned() public {
        Leaf[] memory leaves = list(leafOf(_channel, 30e18));
        BatchHeader memory header = finalise(_operator, leaves);
        SparseTree.Proof memory proof = prove(leaves, allOf(1));
        bytes memory data = abi.encodeCall(
            channels.collect,
            (header, collectionsOf(leaves), proof.siblings, proof.bitmap)
        );
        // The highest byte of each word of the voucher in turn: after the selector come 13 words of the header, 3 of
        // offsets, and the number of collections.
        for (uint256 field; field < 8; ++field) {
            uint256 place = 4 + 32 * (17 + field);
            data[place] ^= 0x80;
            (bool success, ) = address(channels).call(data);
            assertFalse(success, "collected");
            data[place] ^= 0x80;
        }
        (bool clean, ) = address(channels).call(data);
        assertTrue(clean, "not collected as signed");
    }

    function test_RevertWhen_TheVoucherIsAnotherChannels() public {
        // The same payer, operator and session key.
        uint32 other = openChannel(_operator, _DEPOSIT);
        Voucher memory voucher = voucherOf(_channel, 30e18);
        bytes memory signature = signed(voucher, SESSION_KEY);
        voucher.channel = other;
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(other, 30e18), voucher, signature);
    }

    function test_RevertWhen_TheVoucherIsForAnotherContract() public {
        PaymentChannels other = new PaymentChannels(IOpenToken(address(token)), operators, windows());
        Voucher memory voucher = voucherOf(_channel, 30e18);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digestOf(other, voucher));
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(_channel, 30e18), voucher, abi.encodePacked(r, s, v));
    }

    function test_RevertWhen_TheVoucherIsForAnotherChain() public {
        Voucher memory voucher = voucherOf(_channel, 30e18);
        bytes memory signature = signed(voucher, SESSION_KEY);
        vm.chainId(999);
        _expectInvalidSignature(voucher);
        _refused(_operator, leafOf(_channel, 30e18), voucher, signature);
    }

    function test_RevertWhen_TheChannelIsWithAnotherOperator() public {
        uint32 second = registerOperator();
        Voucher memory voucher = voucherOf(_channel, 30e18);
        _expect(abi.encodeWithSelector(IPaymentChannels.Channels_ForeignChannel.selector, _channel, _operator));
        _refused(second, leafOf(_channel, 30e18), voucher, signed(voucher, SESSION_KEY));
    }

    function test_RevertWhen_TheChannelDoesNotExist() public {
        // The operator of an unknown channel reads as 0, its session key as the zero address.
        Voucher memory voucher = voucherOf(99, 30e18);
        _expectInvalidSignature(voucher);
        _refused(0, leafOf(99, 30e18), voucher, new bytes(65));
    }

    function test_RevertWhen_TheHeaderIsNotTheFinalOne() public {
        Leaf[] memory leaves = list(leafOf(_channel, 30e18));
        BatchHeader memory stale = finalise(_operator, leaves);
        bytes32 staleHash = headerHash(stale);
        finalise(_operator, list(leafOf(_channel, 40e18)));
        bytes32 finalHash = settlement.finalHeaderHashOf(_operator);
        _expect(abi.encodeWithSelector(IPaymentChannels.Channels_NotFinalHeader.selector, staleHash, finalHash));
        _refusedCall(stale, collectionsOf(leaves), prove(leaves, allOf(1)));

        // An operator without a final batch.
        stale.operator = registerOperator();
        _expect(
            abi.encodeWithSelector(IPaymentChannels.Channels_NotFinalHeader.selector, headerHash(stale), bytes32(0))
        );
        _refusedCall(stale, collectionsOf(leaves), prove(leaves, allOf(1)));
    }

    function test_RevertWhen_TheLeafIsNotTheFinalStates() public {
        BatchHeader memory header = finalise(_operator, list(leafOf(_channel, 30e18)));
        Leaf[] memory forged = list(leafOf(_channel, 31e18));
        SparseTree.Proof memory proof = prove(forged, allOf(1));
        _expect(
            abi.encodeWithSelector(IPaymentChannels.Channels_WrongRoot.selector, proof.root, header.state.channelsRoot)
        );
        _refusedCall(header, collectionsOf(forged), proof);
    }

    function test_RevertWhen_AChannelIsGivenTwiceOrOutOfOrder() public {
        Leaf[] memory leaves = new Leaf[](2);
        leaves[0] = leafOf(_channel, 30e18);
        leaves[1] = leafOf(openChannel(_operator, _DEPOSIT), 20e18);
        BatchHeader memory header = finalise(_operator, leaves);
        SparseTree.Proof memory proof = prove(leaves, allOf(2));
        Collection[] memory collections = collectionsOf(leaves);
        (collections[0], collections[1]) = (collections[1], collections[0]);
        _expect(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_Unsorted.selector, 1));
        _refusedCall(header, collections, proof);
        collections[1] = collections[0];
        _refusedCall(header, collections, proof);
    }

    function test_RevertWhen_NothingIsGiven() public {
        BatchHeader memory header = finalise(_operator, list(leafOf(_channel, 30e18)));
        SparseTree.Proof memory proof;
        _expect(abi.encodeWithSelector(SparseMultiproof.SparseMultiproof_LengthMismatch.selector, 0, 0, 0));
        _refusedCall(header, new Collection[](0), proof);
    }

    function test_AChannelThatWasNeverUsedPaysNothing() public {
        // A zero leaf is provable of any index, and claims nothing.
        uint32 unused = openChannel(_operator, _DEPOSIT);
        Leaf[] memory leaves = new Leaf[](2);
        leaves[0] = leafOf(_channel, 30e18);
        leaves[1] = Leaf(unused, ChannelState(0, 0, 0, 0));
        BatchHeader memory header = finalise(_operator, list(leaves[0]));
        uint32[] memory ids = new uint32[](2);
        (ids[0], ids[1]) = (_channel, unused);
        bytes32[] memory hashes = new bytes32[](2);
        hashes[0] = keccak256(
            abi.encodePacked(uint8(3), _channel, uint128(30e18), uint128(30e18 + 1), uint64(7), uint256(1))
        );
        assertEq(this.collect(header, collectionsOf(leaves), SparseTree.prove(ids, hashes, allOf(2))), 30e18, "amount");
        assertEq(channels.collectedOf(unused), 0, "unused");
    }

    function test_RevertWhen_NotWired() public {
        PaymentChannels fresh = new PaymentChannels(IOpenToken(address(token)), operators, windows());
        BatchHeader memory header;
        vm.expectRevert(IPaymentChannels.Channels_NotWired.selector);
        fresh.collect(header, new Collection[](0), new bytes32[](0), "");
    }

    function test_ATokenThatCallsBackCannotCollectTwice() public {
        ReentrantToken hostile = new ReentrantToken(address(this));
        channels = new PaymentChannels(IOpenToken(address(hostile)), operators, windows());
        settlement = new SettlementStub(hostile);
        settlement.setChannels(address(channels));
        channels.wire(address(settlement));
        hostile.approve(address(channels), type(uint256).max);
        uint32 channel = channels.open(_operator, session, _DEPOSIT);
        Leaf[] memory leaves = list(leafOf(channel, 30e18));
        BatchHeader memory header = finalise(_operator, leaves);
        SparseTree.Proof memory proof = prove(leaves, allOf(1));
        Collection[] memory collections = collectionsOf(leaves);

        hostile.arm(
            address(channels),
            abi.encodeCall(channels.collect, (header, collections, proof.siblings, proof.bitmap))
        );
        assertEq(this.collect(header, collections, proof), 30e18, "amount");
        assertTrue(hostile.called() && !hostile.succeeded(), "let in");
        assertEq(
            hostile.answer(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
            "guard"
        );
        assertEq(settlement.poolOf(_operator), 30e18, "pool");
    }
}
