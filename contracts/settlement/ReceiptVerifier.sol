// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IPaymentChannels} from "../payments/IPaymentChannels.sol";
import {IAdapterRegistry} from "../registries/IAdapterRegistry.sol";
import {IAgentRegistry} from "../registries/IAgentRegistry.sol";
import {IDataNetRegistry} from "../registries/IDataNetRegistry.sol";
import {IProtocolParameters} from "./IProtocolParameters.sol";
import {IReceiptVerifier} from "./IReceiptVerifier.sol";
import {Windows, WindowsLib} from "./Windows.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {CompositionCodec} from "./libraries/CompositionCodec.sol";
import {Hashes} from "./libraries/Hashes.sol";
import {NonceWindow} from "./libraries/NonceWindow.sol";
import {ReceiptCodec} from "./libraries/ReceiptCodec.sol";
import {SparseMultiproof} from "./libraries/SparseMultiproof.sol";
import {Split} from "./libraries/Split.sol";
import {VoucherHash} from "./libraries/VoucherHash.sol";
import {BatchHeader} from "./types/BatchHeader.sol";
import {Composition, Pinned} from "./types/Composition.sol";
import {FraudProof, ReceiptLeaf} from "./types/FraudProof.sol";
import {PoolEntry, Receipt} from "./types/Receipt.sol";
import {ChannelState, State} from "./types/State.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title ReceiptVerifier
contract ReceiptVerifier is IReceiptVerifier {
    uint256 private constant MILLION = 1_000_000;
    uint256 private constant MAX_EARNERS = 32;
    uint256 private constant LINEAGE_PER_ADAPTER = 8;

    IAgentRegistry public immutable AGENTS;
    IAdapterRegistry public immutable ADAPTERS;
    IDataNetRegistry public immutable DATA_NETS;
    IPaymentChannels public immutable CHANNELS;
    IProtocolParameters public immutable PARAMETERS;

    /// @notice L, in seconds.
    uint40 public immutable VOUCHER_LIFE;
    /// @notice P, in seconds.
    uint40 public immutable POSTING;
    /// @notice How old a batch's view of the registries may be, in seconds.
    uint40 public immutable LAG;
    /// @notice W + R + C + K: after so long, whatever was posted is final and can have been collected; in seconds.
    uint40 public immutable SETTLING;

    constructor(
        IAgentRegistry agents,
        IAdapterRegistry adapters,
        IDataNetRegistry dataNets,
        IPaymentChannels channels,
        IProtocolParameters parameters,
        Windows memory windows
    ) {
        WindowsLib.validate(windows);
        AGENTS = agents;
        ADAPTERS = adapters;
        DATA_NETS = dataNets;
        CHANNELS = channels;
        PARAMETERS = parameters;
        VOUCHER_LIFE = windows.voucherLife;
        POSTING = windows.posting;
        LAG = WindowsLib.lag(windows);
        SETTLING = WindowsLib.settling(windows);
    }

    /// @inheritdoc IReceiptVerifier
    function judge(FraudProof calldata proof, uint40 submittedAt) external view returns (Verdict verdict) {
        verdict = _judgeLeaf(proof);
        if (verdict != Verdict.Valid) return verdict;

        (bool decoded, Receipt memory receipt) = ReceiptCodec.decode(proof.body);
        if (!decoded) return Verdict.MalformedBody;

        uint256 deposit;
        (verdict, deposit) = _judgeVoucher(receipt, proof.header.operator, submittedAt);
        if (verdict != Verdict.Valid) return verdict;

        Composition memory terms;
        (verdict, terms) = _judgeAgent(proof, receipt);
        if (verdict != Verdict.Valid) return verdict;

        // The sums are below 2^65.
        uint256 expiry = receipt.voucher.expiry;
        if (expiry > uint256(submittedAt) + VOUCHER_LIFE) return Verdict.VoucherTooLong;
        if (submittedAt > expiry + POSTING) return Verdict.VoucherExpired;

        State memory state = _stateBefore(proof);
        (verdict, state.channelsRoot) = _judgeChannel(proof, receipt, terms, deposit, state.channelsRoot);
        if (verdict != Verdict.Valid) return verdict;

        verdict = _judgeAttribution(terms, receipt, proof.header.registryTime);
        if (verdict != Verdict.Valid) return verdict;

        return _judgeState(proof, receipt, terms, state);
    }

    /// @dev Rules 1 to 4: the leaf and its length.
    function _judgeLeaf(FraudProof calldata proof) private pure returns (Verdict) {
        BatchHeader calldata header = proof.header;
        ReceiptLeaf calldata leaf = proof.receipt;
        if (proof.index >= header.count) revert Verifier_IndexOutOfRange(proof.index, header.count);
        _authenticateLeaf(header, proof.index, proof.vacant, leaf, Witness.Receipt);

        if (proof.vacant) return Verdict.MissingReceipt;
        if (leaf.length > ReceiptCodec.MAX_LENGTH) return Verdict.OversizedBody;
        if (proof.index + 1 == header.count && leaf.stateRoot != Hashes.stateRoot(header.state)) {
            return Verdict.FinalStateMismatch;
        }
        bytes32 bodyHash = keccak256(proof.body);
        if (bodyHash != leaf.bodyHash) revert Verifier_WitnessMismatch(Witness.Body, bodyHash, leaf.bodyHash);
        if (proof.body.length != leaf.length) return Verdict.LengthMismatch;
        return Verdict.Valid;
    }

    /// @dev Rules 6 and 7: the channel and its session key's signature. Gives what the channel holds for rule 15: without
    /// what may be withdrawn before the batch can be collected. A thaw outlasts voucher life, posting and settling, so it
    /// was announced before every voucher that this touches, and no honest operator admitted one above the rest.
    function _judgeVoucher(
        Receipt memory receipt,
        uint32 operator,
        uint40 submittedAt
    ) private view returns (Verdict verdict, uint256 deposit) {
        (uint32 channelOperator, address sessionKey, uint128 held) = CHANNELS.channelOf(receipt.voucher.channel);
        if (sessionKey == address(0) || channelOperator != operator) return (Verdict.UnknownChannel, 0);
        bytes32 digest = VoucherHash.digest(VoucherHash.domainSeparator(address(CHANNELS)), receipt.voucher);
        if (!VoucherHash.signedBy(digest, receipt.r, receipt.s, receipt.v, sessionKey)) {
            return (Verdict.BadSignature, 0);
        }
        (uint128 thawing, uint40 readyAt) = CHANNELS.thawOf(receipt.voucher.channel);
        if (readyAt != 0 && readyAt < uint256(submittedAt) + SETTLING) {
            held = thawing < held ? held - thawing : 0;
        }
        return (Verdict.Valid, held);
    }

    /// @dev Rule 8: the agent's version, with its terms.
    function _judgeAgent(
        FraudProof calldata proof,
        Receipt memory receipt
    ) private view returns (Verdict verdict, Composition memory terms) {
        (bytes32 expected, uint40 publishedAt) = AGENTS.versionOf(receipt.voucher.agent, receipt.voucher.version);
        if (publishedAt == 0 || publishedAt > proof.header.registryTime) return (Verdict.UnknownAgentVersion, terms);
        bytes32 given = Hashes.composition(proof.composition);
        if (given != expected) revert Verifier_WitnessMismatch(Witness.Composition, given, expected);
        // Valid, for the registry decoded it before it took the hash.
        (, terms) = CompositionCodec.decode(proof.composition);
        return (Verdict.Valid, terms);
    }

    /// @dev The state before the receipt: that of the preceding receipt, of the parent's header, or nothing yet.
    function _stateBefore(FraudProof calldata proof) private pure returns (State memory state) {
        BatchHeader calldata header = proof.header;
        state = proof.before;
        bytes32 given = Hashes.stateRoot(state);
        bytes32 expected;
        if (proof.index != 0) {
            _authenticateLeaf(header, proof.index - 1, false, proof.previous, Witness.Previous);
            expected = proof.previous.stateRoot;
        } else if (header.height != 1) {
            bytes32 parentHash = Hashes.headerOf(proof.parent);
            if (parentHash != header.parentHash) {
                revert Verifier_WitnessMismatch(Witness.Parent, parentHash, header.parentHash);
            }
            expected = Hashes.stateRoot(proof.parent.state);
        } else {
            State memory nothing;
            expected = Hashes.stateRoot(nothing);
        }
        if (given != expected) revert Verifier_WitnessMismatch(Witness.Before, given, expected);
    }

    /// @dev Rules 11 to 15: what the channel allows. Gives the channels root after the receipt.
    function _judgeChannel(
        FraudProof calldata proof,
        Receipt memory receipt,
        Composition memory terms,
        uint256 deposit,
        bytes32 channelsRoot
    ) private pure returns (Verdict, bytes32) {
        ChannelState memory channel = proof.channel;
        uint32[] memory ids = new uint32[](1);
        bytes32[] memory leavesBefore = new bytes32[](1);
        bytes32[] memory leavesAfter = new bytes32[](1);
        ids[0] = receipt.voucher.channel;
        leavesBefore[0] = Hashes.channelLeaf(receipt.voucher.channel, channel);

        bool fresh;
        (fresh, channel.top, channel.bitmap) = NonceWindow.use(channel.top, channel.bitmap, receipt.voucher.nonce);
        uint256 spent = uint256(channel.spent) + receipt.price;
        if (receipt.voucher.cap > channel.capSeen) channel.capSeen = receipt.voucher.cap;
        // A sum that does not fit is above the cap, and then this leaf is not used.
        channel.spent = uint128(spent);
        leavesAfter[0] = Hashes.channelLeaf(receipt.voucher.channel, channel);

        (bytes32 rootBefore, bytes32 rootAfter) = SparseMultiproof.roots(
            ids,
            leavesBefore,
            leavesAfter,
            proof.channelSiblings,
            proof.channelBitmap
        );
        if (rootBefore != channelsRoot) revert Verifier_WitnessMismatch(Witness.Channel, rootBefore, channelsRoot);

        if (!fresh) return (Verdict.NonceUsed, 0);
        if (receipt.price > receipt.voucher.maxPrice) return (Verdict.PriceAboveMaximum, 0);
        if (receipt.price != Split.priceOf(terms, receipt)) return (Verdict.WrongPrice, 0);
        if (spent > channel.capSeen) return (Verdict.CapExceeded, 0);
        if (spent > deposit) return (Verdict.DepositExceeded, 0);
        return (Verdict.Valid, rootAfter);
    }

    /// @dev Rules 16 to 19: who may earn from the pools.
    function _judgeAttribution(
        Composition memory terms,
        Receipt memory receipt,
        uint40 registryTime
    ) private view returns (Verdict verdict) {
        if (!_ascends(receipt.context) || !_ascends(receipt.training) || !_ascends(receipt.tools)) {
            return Verdict.AttributionUnsorted;
        }
        if (!_sums(receipt.context) || !_sums(receipt.training) || !_sums(receipt.tools)) {
            return Verdict.AttributionSum;
        }
        for (uint256 i; i < receipt.context.length; ++i) {
            PoolEntry memory entry = receipt.context[i];
            if (entry.via >= terms.dataNets.length) return Verdict.AttributionForeign;
            Pinned memory dataNet = terms.dataNets[entry.via];
            verdict = _judgeContribution(entry.id, dataNet.id, dataNet.version, registryTime);
            if (verdict != Verdict.Valid) return verdict;
        }
        for (uint256 i; i < receipt.training.length; ++i) {
            PoolEntry memory entry = receipt.training[i];
            uint256 adapter = entry.via / LINEAGE_PER_ADAPTER;
            if (adapter >= terms.adapters.length) return Verdict.AttributionForeign;
            (uint32 dataNet, uint32 version) = ADAPTERS.lineageAt(
                terms.adapters[adapter].id,
                terms.adapters[adapter].version,
                entry.via % LINEAGE_PER_ADAPTER
            );
            verdict = _judgeContribution(entry.id, dataNet, version, registryTime);
            if (verdict != Verdict.Valid) return verdict;
        }
        for (uint256 i; i < receipt.tools.length; ++i) {
            PoolEntry memory entry = receipt.tools[i];
            if (entry.via >= terms.tools.length || terms.tools[entry.via].id != entry.id) {
                return Verdict.AttributionForeign;
            }
        }
        return Verdict.Valid;
    }

    /// @dev Whether a contribution is in a DataNet's version, and accepted by the batch's view of the registries.
    function _judgeContribution(
        uint32 id,
        uint32 dataNet,
        uint32 version,
        uint256 registryTime
    ) private view returns (Verdict) {
        if (dataNet == 0) return Verdict.AttributionForeign;
        (uint32 home, uint32 from, uint32 until, uint40 acceptedAt, uint40 withdrawnAt) = DATA_NETS.contributionOf(id);
        if (home != dataNet || from > version || (until != 0 && version >= until)) return Verdict.AttributionForeign;
        if (acceptedAt == 0 || acceptedAt > registryTime) return Verdict.AttributionNotAccepted;
        // What was withdrawn after the oldest view that a batch may have was rightly served.
        if (withdrawnAt != 0 && uint256(withdrawnAt) + LAG < registryTime) return Verdict.AttributionNotAccepted;
        return Verdict.Valid;
    }

    /// @dev Rules 20 to 22: the credits, and the state that they lead to. `state` comes with the channels root after.
    function _judgeState(
        FraudProof calldata proof,
        Receipt memory receipt,
        Composition memory terms,
        State memory state
    ) private view returns (Verdict) {
        Split.Credits memory credits = Split.credits(
            terms,
            receipt,
            PARAMETERS.protocolShareAt(proof.header.registryTime)
        );
        if (credits.ids.length > MAX_EARNERS) return Verdict.TooManyEarners;

        bool overflow;
        (overflow, state.earnersRoot) = _credit(proof, credits, state.earnersRoot);
        // What `spent` may be is bounded by the cap; the rest is checked here.
        uint256 totalSpent = uint256(state.totalSpent) + receipt.price;
        uint256 treasuryEarned = uint256(state.treasuryEarned) + credits.treasury;
        uint256 operatorEarned = uint256(state.operatorEarned) + credits.operator;
        if (overflow || (totalSpent | treasuryEarned | operatorEarned) > type(uint128).max) return Verdict.Overflow;
        state.totalSpent = uint128(totalSpent);
        state.treasuryEarned = uint128(treasuryEarned);
        state.operatorEarned = uint128(operatorEarned);
        return Hashes.stateRoot(state) == proof.receipt.stateRoot ? Verdict.Valid : Verdict.WrongState;
    }

    /// @dev Credits the earners. Gives the earners root after, which means nothing when something overflowed.
    function _credit(
        FraudProof calldata proof,
        Split.Credits memory credits,
        bytes32 earnersRoot
    ) private pure returns (bool overflow, bytes32 rootAfter) {
        uint256 count = credits.ids.length;
        if (proof.earnedBefore.length != count) revert Verifier_EarnerCount(proof.earnedBefore.length, count);
        if (count == 0) return (false, earnersRoot);

        bytes32[] memory leavesBefore = new bytes32[](count);
        bytes32[] memory leavesAfter = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            uint128 earned = proof.earnedBefore[i];
            uint256 earnedAfter = uint256(earned) + credits.amounts[i];
            if (earnedAfter > type(uint128).max) overflow = true;
            leavesBefore[i] = Hashes.earnerLeaf(credits.ids[i], earned);
            leavesAfter[i] = Hashes.earnerLeaf(credits.ids[i], uint128(earnedAfter));
        }
        bytes32 rootBefore;
        (rootBefore, rootAfter) = SparseMultiproof.roots(
            credits.ids,
            leavesBefore,
            leavesAfter,
            proof.earnerSiblings,
            proof.earnerBitmap
        );
        if (rootBefore != earnersRoot) revert Verifier_WitnessMismatch(Witness.Earners, rootBefore, earnersRoot);
    }

    function _authenticateLeaf(
        BatchHeader calldata header,
        uint32 index,
        bool vacant,
        ReceiptLeaf calldata leaf,
        Witness witness
    ) private pure {
        bytes32 hash = vacant ? bytes32(0) : Hashes.receiptLeaf(index, leaf.length, leaf.stateRoot, leaf.bodyHash);
        bytes32 root = BatchTree.climb(hash, index, BatchTree.depth(header.count), leaf.proof);
        if (root != header.receiptsRoot) revert Verifier_WitnessMismatch(witness, root, header.receiptsRoot);
    }

    function _ascends(PoolEntry[] memory entries) private pure returns (bool) {
        for (uint256 i = 1; i < entries.length; ++i) {
            if (entries[i].id <= entries[i - 1].id) return false;
        }
        return true;
    }

    /// @dev True for an empty pool too.
    function _sums(PoolEntry[] memory entries) private pure returns (bool) {
        uint256 sum;
        for (uint256 i; i < entries.length; ++i) {
            if (entries[i].ppm == 0) return false;
            sum += entries[i].ppm;
        }
        return entries.length == 0 || sum == MILLION;
    }
}
