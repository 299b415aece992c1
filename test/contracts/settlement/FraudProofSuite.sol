// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAttributionSettlement} from "../../../contracts/settlement/IAttributionSettlement.sol";
import {IBatchChain} from "../../../contracts/settlement/IBatchChain.sol";
import {IReceiptVerifier} from "../../../contracts/settlement/IReceiptVerifier.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {Split} from "../../../contracts/settlement/libraries/Split.sol";
import {VoucherHash} from "../../../contracts/settlement/libraries/VoucherHash.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {FraudProof, ReceiptLeaf} from "../../../contracts/settlement/types/FraudProof.sol";
import {Receipt} from "../../../contracts/settlement/types/Receipt.sol";
import {ChannelState, State} from "../../../contracts/settlement/types/State.sol";
import {Verdict} from "../../../contracts/settlement/types/Verdict.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {ReferenceHeader} from "./ReferenceHeader.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

abstract contract FraudProofSuite is SettlementFixture {
    /// @dev 1,000 prompt and 2,000 completion tokens by the composition's terms.
    uint96 internal constant _PRICE = 10 + 2 * 1_000 + 3 * 2_000;

    function test_AnHonestReceiptIsValidAndCannotBeProven() public {
        FraudProof memory proof = _honest();
        submit(proof.header);
        assertTrue(verifier.judge(proof, clock) == Verdict.Valid, "verdict");
        vm.expectRevert(IAttributionSettlement.Settlement_NotFraud.selector);
        vm.prank(WATCHER);
        settlement.proveFraud(proof);
    }

    function test_ALieMakesTheBatchAndThoseAfterItFallAndSlashesTheBond() public {
        BatchHeader memory stands = submitNext();
        BatchHeader memory lie = nextHeader();
        lie.receiptsRoot = 0;
        submit(lie);
        submitNext();
        FraudProof memory proof;
        proof.header = lie;
        proof.vacant = true;
        uint256 supply = token.totalSupply();

        vm.expectEmit(address(settlement));
        emit IAttributionSettlement.FraudProven(
            OPERATOR,
            2,
            ReferenceHeader.hash(lie),
            0,
            Verdict.MissingReceipt,
            WATCHER
        );
        vm.prank(WATCHER);
        assertTrue(settlement.proveFraud(proof) == Verdict.MissingReceipt, "verdict");
        assertEq(settlement.chainOf(OPERATOR).tip, 1, "tip");
        assertTrue(settlement.isPending(OPERATOR, 1, ReferenceHeader.hash(stands)), "the one before stands");
        assertFalse(settlement.isPending(OPERATOR, 2, ReferenceHeader.hash(lie)), "the lie fell");
        assertEq(token.balanceOf(WATCHER), BOND / 2, "reward");
        assertEq(supply - token.totalSupply(), BOND / 2, "burned");
        assertEq(operators.bondOf(OPERATOR), 0, "bond");

        vm.expectPartialRevert(IBatchChain.Settlement_NotPending.selector);
        settlement.proveFraud(proof);
        // Without a bond nothing more is posted; the batch that stands becomes final.
        BatchHeader memory next = nextHeader();
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_BondTooSmall.selector, 0, MINIMUM_BOND));
        submit(next);
        pass(1 days + 1);
        settlement.finalize(OPERATOR, 1);
    }

    function test_AfterAFallTheChainGoesOnFromTheBatchBelow() public {
        BatchHeader memory first = submitNext();
        BatchHeader memory lie = nextHeader();
        lie.receiptsRoot = 0;
        submit(lie);
        FraudProof memory proof;
        proof.header = lie;
        proof.vacant = true;
        settlement.proveFraud(proof);
        token.approve(address(operators), BOND);
        operators.depositBond(OPERATOR, BOND);

        BatchHeader memory again = nextHeader();
        assertEq(again.height, 2, "height");
        assertEq(again.parentHash, ReferenceHeader.hash(first), "parent");
        // The same header cannot come back, for its sequence is used.
        vm.expectRevert(abi.encodeWithSelector(IBatchChain.Settlement_SequenceUsed.selector, 2, 2));
        submit(lie);
        submit(again);
        pass(1 days + 1);
        settlement.finalize(OPERATOR, 2);
        assertEq(settlement.finalHeaderHashOf(OPERATOR), ReferenceHeader.hash(again), "final");
    }

    function test_AFinalBatchCannotBeProvenWrong() public {
        BatchHeader memory lie = nextHeader();
        lie.receiptsRoot = 0;
        submit(lie);
        FraudProof memory proof;
        proof.header = lie;
        proof.vacant = true;
        pass(1 days + 1);
        uint256 snapshot = vm.snapshotState();
        assertTrue(settlement.proveFraud(proof) == Verdict.MissingReceipt, "until it is final it can");
        vm.revertToState(snapshot);
        settlement.finalize(OPERATOR, 1);
        vm.expectPartialRevert(IBatchChain.Settlement_NotPending.selector);
        settlement.proveFraud(proof);
    }

    function test_OneWeiMoreToTheOperatorIsAWrongState() public {
        FraudProof memory proof = _honest();
        proof.header.state.operatorEarned += 1;
        proof.header.state.treasuryEarned -= 1;
        proof.receipt.stateRoot = Hashes.stateRoot(proof.header.state);
        _commit(proof);
        submit(proof.header);
        assertTrue(settlement.proveFraud(proof) == Verdict.WrongState, "verdict");
    }

    function test_AWithdrawalBetweenServingAndPostingLeavesAnHonestReceiptHonest() public {
        FraudProof memory proof = _honest();
        vm.prank(CREATOR);
        dataNets.withdraw(CONTRIBUTION);
        assertTrue(verifier.judge(proof, clock) == Verdict.Valid, "just withdrawn");
        pass(25 hours);
        proof.header.registryTime = clock;
        assertTrue(verifier.judge(proof, clock - 25 hours) == Verdict.Valid, "withdrawn LAG before B");
        pass(1);
        proof.header.registryTime = clock;
        assertTrue(verifier.judge(proof, clock - 25 hours) == Verdict.AttributionNotAccepted, "withdrawn longer ago");
    }

    function test_ASignatureWithHighSOrForAnotherChainIsBad() public {
        Voucher memory voucher = _voucher();
        bytes32 digest = VoucherHash.digest(VoucherHash.domainSeparator(address(channels)), voucher);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digest);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory twin = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        _expectVerdict(_proofFor(_body(voucher, twin, _entries())), Verdict.BadSignature);

        vm.chainId(10);
        FraudProof memory elsewhere = _proofFor(_body(voucher, _signed(voucher), _entries()));
        vm.chainId(31_337);
        _expectVerdict(elsewhere, Verdict.BadSignature);
    }

    function test_RevertWhen_AWitnessDoesNotMatchItsHash() public {
        FraudProof memory proof = _honest();
        proof.receipt.stateRoot = keccak256("other");
        _expectMismatch(proof, IReceiptVerifier.Witness.Receipt);

        proof = _honest();
        proof.body[30] ^= 0x01;
        _expectMismatch(proof, IReceiptVerifier.Witness.Body);

        proof = _honest();
        proof.composition[40] ^= 0x01;
        _expectMismatch(proof, IReceiptVerifier.Witness.Composition);

        proof = _honest();
        proof.before.totalSpent = 1;
        _expectMismatch(proof, IReceiptVerifier.Witness.Before);

        proof = _honest();
        proof.channel.top = 1;
        _expectMismatch(proof, IReceiptVerifier.Witness.Channel);

        proof = _honest();
        proof.earnedBefore[0] = 1;
        _expectMismatch(proof, IReceiptVerifier.Witness.Earners);
    }

    function test_RevertWhen_AnEarnerLacks() public {
        FraudProof memory proof = _honest();
        uint256 count = proof.earnedBefore.length;
        proof.earnedBefore = new uint128[](count - 1);
        vm.expectRevert(abi.encodeWithSelector(IReceiptVerifier.Verifier_EarnerCount.selector, count - 1, count));
        verifier.judge(proof, clock);
    }

    function test_RevertWhen_TheIndexIsOutOfRange() public {
        FraudProof memory proof = _honest();
        proof.index = 1;
        vm.expectRevert(abi.encodeWithSelector(IReceiptVerifier.Verifier_IndexOutOfRange.selector, 1, 1));
        verifier.judge(proof, clock);
    }

    function test_TheStateBeforeIsThatOfTheParentOrOfThePrecedingReceipt() public {
        // At height 2, by the parent's header.
        FraudProof memory proof = _honest();
        BatchHeader memory parent = proof.header;
        proof.header.height = 2;
        _expectMismatch(proof, IReceiptVerifier.Witness.Parent);
        proof = _honest();
        parent.state = proof.before;
        proof.parent = parent;
        proof.header.height = 2;
        proof.header.parentHash = ReferenceHeader.hash(parent);
        _expectVerdict(proof, Verdict.Valid);
        State memory other;
        other.totalSpent = 1;
        proof.parent.state = other;
        proof.header.parentHash = ReferenceHeader.hash(proof.parent);
        _expectMismatch(proof, IReceiptVerifier.Witness.Before);

        // At index 1, by the preceding leaf.
        proof = _honest();
        bytes32 rootBefore = Hashes.stateRoot(proof.before);
        bytes32 preceding = Hashes.receiptLeaf(0, 300, rootBefore, keccak256("body"));
        bytes32 leaf = Hashes.receiptLeaf(1, proof.receipt.length, proof.receipt.stateRoot, proof.receipt.bodyHash);
        (proof.index, proof.header.count) = (1, 2);
        proof.header.receiptsRoot = Hashes.node(preceding, leaf);
        proof.receipt.proof = new bytes32[](1);
        proof.receipt.proof[0] = preceding;
        proof.previous = ReceiptLeaf(300, rootBefore, keccak256("body"), new bytes32[](1));
        proof.previous.proof[0] = leaf;
        _expectVerdict(proof, Verdict.Valid);
        proof.previous.length = 301;
        _expectMismatch(proof, IReceiptVerifier.Witness.Previous);
    }

    function testFuzz_AnyBytesThatAreCommittedToGetAVerdict(bytes memory body, bytes32 stateRoot) public view {
        FraudProof memory proof = _proofFor(body);
        proof.header.count = 2;
        proof.receipt.stateRoot = stateRoot;
        proof.receipt.proof = new bytes32[](1);
        _commit(proof);
        assertTrue(verifier.judge(proof, clock) != Verdict.Valid, "a random body is valid");
    }

    function testFuzz_AnyFieldsInAWellFormedBodyGetAVerdict(bytes32 seed, bool signed) public view {
        uint256 dice = uint256(seed);
        uint256[3] memory counts = [dice % 13, (dice >> 8) % 13, (dice >> 16) % 5];
        bytes memory body = new bytes(245 + 8 * (counts[0] + counts[1] + counts[2]));
        for (uint256 i; i < body.length; ++i) body[i] = keccak256(abi.encode(seed, i))[0];
        body[0] = 0x01;
        for (uint256 i; i < 3; ++i) body[242 + i] = bytes1(uint8(counts[i]));
        if (signed) {
            (bool ok, Receipt memory receipt) = harness.decodeReceipt(body);
            assertTrue(ok, "well-formed");
            receipt.voucher.channel = CHANNEL;
            bytes memory signature = _signed(receipt.voucher);
            for (uint256 i; i < 4; ++i) body[1 + i] = bytes4(CHANNEL)[i];
            for (uint256 i; i < 65; ++i) body[93 + i] = signature[i];
        }
        Verdict expected = signed ? Verdict.UnknownAgentVersion : Verdict.UnknownChannel;
        _expectVerdict(_proofFor(body), expected);
    }

    function testFuzz_AnyReceiptByTheSessionKeyGetsAVerdict(uint256 seed) public view {
        judgeRandom(seed);
    }

    function test_RandomReceiptsBreakEveryRuleThatASessionKeyCanBreak() public view {
        uint256 seen;
        // A call for each, so that its memory is given back.
        for (uint256 seed; seed < 160; ++seed) seen |= 1 << uint8(this.judgeRandom(seed));
        Verdict[12] memory expected = [
            Verdict.Valid,
            Verdict.UnknownAgentVersion,
            Verdict.VoucherTooLong,
            Verdict.VoucherExpired,
            Verdict.PriceAboveMaximum,
            Verdict.WrongPrice,
            Verdict.CapExceeded,
            Verdict.AttributionUnsorted,
            Verdict.AttributionSum,
            Verdict.AttributionForeign,
            Verdict.AttributionNotAccepted,
            Verdict.WrongState
        ];
        for (uint256 i; i < expected.length; ++i) {
            assertEq((seen >> uint8(expected[i])) & 1, 1, string.concat("verdict ", vm.toString(uint8(expected[i]))));
        }
    }

    /// @notice The verdict on a receipt whose fields are each as they should be or, now and then, random.
    function judgeRandom(uint256 seed) public view returns (Verdict) {
        uint256 dice = uint256(keccak256(abi.encode(seed)));
        FraudProof memory proof = _honest();
        Voucher memory voucher = _voucher();
        bytes memory entries = _entries();
        uint256 lie = dice % 16;
        if (lie == 0) voucher.nonce = uint64(dice >> 64);
        if (lie == 1) voucher.maxPrice = uint128(dice >> 128) % (3 * _PRICE);
        if (lie == 2) voucher.cap = uint128(dice >> 96) % (2 * _PRICE);
        if (lie == 3) voucher.version = uint32(dice >> 32) >> (dice % 32);
        if (lie == 4) voucher.expiry = uint64(dice >> 20) >> ((dice >> 8) % 64);
        if (lie >= 5 && lie < 13) entries = _randomEntries(dice);
        bytes memory body = _body(voucher, _signed(voucher), entries);
        if (lie == 13) body[241] = bytes1(uint8(dice >> 200));
        if (lie == 14) body[224] = bytes1(uint8(dice >> 208));
        State memory claimed = proof.header.state;
        if (lie == 15) claimed.operatorEarned += uint128(dice >> 128) % 3;
        proof = _proofFor(body);
        proof.header.state = claimed;
        _commit(proof);
        return verifier.judge(proof, clock);
    }

    /// @dev A voucher, and a body of 1,000 prompt and 2,000 completion tokens, that keep all rules.
    function _voucher() internal view returns (Voucher memory) {
        return
            Voucher({
                channel: CHANNEL,
                nonce: 1,
                agent: AGENT,
                version: 1,
                requestHash: keccak256("request"),
                maxPrice: 1 ether,
                cap: 1 ether,
                expiry: clock + 600
            });
    }

    function _signed(Voucher memory voucher) internal view returns (bytes memory) {
        bytes32 digest = VoucherHash.digest(VoucherHash.domainSeparator(address(channels)), voucher);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digest);
        return abi.encodePacked(r, s, v);
    }

    function _entries() internal pure returns (bytes memory) {
        return
            abi.encodePacked(
                uint8(1),
                uint8(2),
                uint8(1),
                abi.encodePacked(CONTRIBUTION, uint24(1_000_000), uint8(0)),
                abi.encodePacked(CONTRIBUTION, uint24(250_000), uint8(0)),
                abi.encodePacked(CONTRIBUTION + 1, uint24(750_000), uint8(0)),
                abi.encodePacked(TOOL, uint24(1_000_000), uint8(0))
            );
    }

    /// @dev The right entries with one thing changed: an id, a ppm, a via; or an entry of a contribution never accepted.
    function _randomEntries(uint256 dice) private pure returns (bytes memory entries) {
        entries = _entries();
        uint256 entry = (dice >> 32) % 4;
        uint256 place = 3 + 8 * entry;
        uint256 kind = (dice >> 40) % 5;
        if (kind == 0) entries[place + 3] = bytes1(uint8(dice >> 48) % 9);
        if (kind == 1) entries[place + 6] = bytes1(uint8(dice >> 48));
        if (kind == 2) entries[place + 7] = bytes1(uint8(dice >> 48));
        if (kind == 3) entries[3 + 3] = bytes1(uint8(LATE));
        if (kind == 4) (entries[11 + 3], entries[19 + 3]) = (entries[19 + 3], entries[11 + 3]);
    }

    function _body(
        Voucher memory voucher,
        bytes memory signature,
        bytes memory entries
    ) internal pure returns (bytes memory) {
        return
            bytes.concat(
                abi.encodePacked(
                    uint8(1),
                    voucher.channel,
                    voucher.nonce,
                    voucher.agent,
                    voucher.version,
                    voucher.requestHash,
                    voucher.maxPrice,
                    voucher.cap,
                    voucher.expiry
                ),
                abi.encodePacked(
                    signature,
                    keccak256("response"),
                    keccak256("trace"),
                    uint32(1_000),
                    uint32(2_000),
                    _PRICE,
                    entries
                )
            );
    }

    /// @dev The first receipt of an operator, with the state that it leads to.
    function _honest() internal view returns (FraudProof memory proof) {
        Voucher memory voucher = _voucher();
        proof = _proofFor(_body(voucher, _signed(voucher), _entries()));
        Split.Credits memory credits = _credits(proof.body);
        State memory state;
        state.earnersRoot = earnersRoot(credits.ids, credits.amounts);
        uint32[] memory channel = new uint32[](1);
        bytes32[] memory leaf = new bytes32[](1);
        channel[0] = CHANNEL;
        leaf[0] = Hashes.channelLeaf(CHANNEL, ChannelState(_PRICE, voucher.cap, 1, 1));
        state.channelsRoot = ReferenceTree.root(channel, leaf);
        state.totalSpent = _PRICE;
        state.treasuryEarned = uint128(credits.treasury);
        state.operatorEarned = uint128(credits.operator);
        proof.header.state = state;
        _commit(proof);
    }

    /// @dev A proof about the one receipt of an operator's first batch, with every witness that its rules may ask for.
    function _proofFor(bytes memory body) internal view returns (FraudProof memory proof) {
        proof.header = nextHeader();
        proof.body = body;
        proof.composition = composition();
        proof.channelBitmap = new bytes(4);
        uint32[] memory ids = _credits(body).ids;
        if (ids.length != 0) {
            proof.earnedBefore = new uint128[](ids.length);
            proof.earnerBitmap = ReferenceTree.prove(new uint32[](0), new bytes32[](0), ids).bitmap;
        }
        _commit(proof);
    }

    /// @dev Who is credited; nobody where the body is no receipt.
    function _credits(bytes memory body) private view returns (Split.Credits memory credits) {
        try harness.credits(composition(), body, 20_000) returns (Split.Credits memory found) {
            credits = found;
        } catch {}
    }

    /// @dev Makes the header commit to the proof's body and, where it is the last receipt, to its state.
    function _commit(FraudProof memory proof) internal pure {
        if (proof.header.count == 1) proof.receipt.stateRoot = Hashes.stateRoot(proof.header.state);
        // A length that does not fit is a lie of its own.
        proof.receipt.length = uint16(proof.body.length);
        proof.receipt.bodyHash = keccak256(proof.body);
        bytes32 leaf = Hashes.receiptLeaf(0, proof.receipt.length, proof.receipt.stateRoot, proof.receipt.bodyHash);
        proof.header.receiptsRoot = proof.header.count == 1 ? leaf : Hashes.node(leaf, 0);
    }

    function _expectVerdict(FraudProof memory proof, Verdict expected) internal view {
        assertEq(uint8(verifier.judge(proof, clock)), uint8(expected), "verdict");
    }

    function _expectMismatch(FraudProof memory proof, IReceiptVerifier.Witness witness) private view {
        try verifier.judge(proof, clock) returns (Verdict) {
            assertTrue(false, "a wrong witness was taken");
        } catch (bytes memory reason) {
            assertTrue(bytes4(reason) == IReceiptVerifier.Verifier_WitnessMismatch.selector, "selector");
            uint256 named;
            assembly ("memory-safe") {
                named := mload(add(reason, 36))
            }
            assertEq(named, uint8(witness), "which witness");
        }
    }
}
