// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchTree} from "../../../contracts/settlement/libraries/BatchTree.sol";
import {CompositionCodec} from "../../../contracts/settlement/libraries/CompositionCodec.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {NonceWindow} from "../../../contracts/settlement/libraries/NonceWindow.sol";
import {ReceiptCodec} from "../../../contracts/settlement/libraries/ReceiptCodec.sol";
import {SparseMultiproof} from "../../../contracts/settlement/libraries/SparseMultiproof.sol";
import {Split} from "../../../contracts/settlement/libraries/Split.sol";
import {VoucherHash} from "../../../contracts/settlement/libraries/VoucherHash.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {Composition} from "../../../contracts/settlement/types/Composition.sol";
import {Receipt} from "../../../contracts/settlement/types/Receipt.sol";
import {ChannelState, State} from "../../../contracts/settlement/types/State.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";

/// @notice The protocol's libraries as functions that a test outside Solidity can call.
contract ProtocolHarness {
    /// @dev Two ways to the same hash differ.
    error TwoHashes(bytes32 fromMemory, bytes32 fromCalldata);
    error InvalidReceipt();
    error InvalidComposition(CompositionCodec.Fault fault);

    function node(bytes32 left, bytes32 right) external pure returns (bytes32) {
        return Hashes.node(left, right);
    }

    function earnerLeaf(uint32 id, uint128 earned) external pure returns (bytes32) {
        return Hashes.earnerLeaf(id, earned);
    }

    function channelLeaf(uint32 channel, ChannelState calldata state) external pure returns (bytes32) {
        return _same(Hashes.channelLeaf(channel, state), Hashes.channelLeafOf(channel, state));
    }

    function receiptLeaf(
        uint32 index,
        uint16 length,
        bytes32 stateRoot_,
        bytes32 bodyHash
    ) external pure returns (bytes32) {
        return Hashes.receiptLeaf(index, length, stateRoot_, bodyHash);
    }

    function stateRoot(State memory state) external pure returns (bytes32) {
        return Hashes.stateRoot(state);
    }

    function headerHash(BatchHeader calldata header) external pure returns (bytes32) {
        return Hashes.headerOf(header);
    }

    function compositionHash(bytes memory encoded) external pure returns (bytes32) {
        return Hashes.composition(encoded);
    }

    function voucherDigest(
        uint256 chainId,
        address channels,
        Voucher calldata voucher
    ) external pure returns (bytes32) {
        // On any chain, where the library takes the one that it runs on.
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(VoucherHash.NAME)),
                keccak256(bytes(VoucherHash.VERSION)),
                chainId,
                channels
            )
        );
        return _same(VoucherHash.digest(domain, voucher), VoucherHash.digestOf(domain, voucher));
    }

    function voucherDigestHere(address channels, Voucher memory voucher) external view returns (bytes32) {
        return VoucherHash.digest(VoucherHash.domainSeparator(channels), voucher);
    }

    function signedBy(bytes32 digest, bytes32 r, bytes32 s, uint8 v, address key) external pure returns (bool) {
        return VoucherHash.signedBy(digest, r, s, v, key);
    }

    function decodeReceipt(bytes calldata body) external pure returns (bool ok, Receipt memory receipt) {
        return ReceiptCodec.decode(body);
    }

    function decodeComposition(
        bytes calldata encoded
    ) external pure returns (CompositionCodec.Fault fault, Composition memory composition) {
        return CompositionCodec.decode(encoded);
    }

    function price(bytes calldata composition, bytes calldata body) external pure returns (uint256) {
        return Split.priceOf(_terms(composition), _receipt(body));
    }

    function credits(
        bytes calldata composition,
        bytes calldata body,
        uint256 sharePpm
    ) external pure returns (Split.Credits memory) {
        return Split.credits(_terms(composition), _receipt(body), sharePpm);
    }

    function useNonce(
        uint64 top,
        uint256 bitmap,
        uint64 nonce
    ) external pure returns (bool fresh, uint64 newTop, uint256 newBitmap) {
        return NonceWindow.use(top, bitmap, nonce);
    }

    function multiproofRoot(
        uint32[] memory ids,
        bytes32[] memory leaves,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) external pure returns (bytes32) {
        return SparseMultiproof.root(ids, leaves, siblings, bitmap);
    }

    function multiproofRoots(
        uint32[] memory ids,
        bytes32[] memory before,
        bytes32[] memory afterwards,
        bytes32[] calldata siblings,
        bytes calldata bitmap
    ) external pure returns (bytes32 rootBefore, bytes32 rootAfter) {
        return SparseMultiproof.roots(ids, before, afterwards, siblings, bitmap);
    }

    function receiptsRoot(
        bytes32 leaf,
        uint256 index,
        uint256 count,
        bytes32[] calldata path
    ) external pure returns (bytes32) {
        return BatchTree.climb(leaf, index, BatchTree.depth(count), path);
    }

    function chunkRoot(
        bytes32[] memory leaves,
        uint256 chunk,
        uint256 count,
        bytes32[] calldata path
    ) external pure returns (bytes32) {
        uint256 levels = BatchTree.chunkLevels(count);
        return BatchTree.climb(BatchTree.subtree(leaves, levels), chunk, BatchTree.depth(count) - levels, path);
    }

    function chunks(uint256 count) external pure returns (uint256) {
        return BatchTree.chunks(count);
    }

    function _same(bytes32 fromMemory, bytes32 fromCalldata) private pure returns (bytes32) {
        if (fromMemory != fromCalldata) revert TwoHashes(fromMemory, fromCalldata);
        return fromMemory;
    }

    function _terms(bytes calldata encoded) private pure returns (Composition memory composition) {
        CompositionCodec.Fault fault;
        (fault, composition) = CompositionCodec.decode(encoded);
        if (fault != CompositionCodec.Fault.None) revert InvalidComposition(fault);
    }

    function _receipt(bytes calldata body) private pure returns (Receipt memory receipt) {
        bool ok;
        (ok, receipt) = ReceiptCodec.decode(body);
        if (!ok) revert InvalidReceipt();
    }
}
