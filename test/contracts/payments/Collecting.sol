// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Collection} from "../../../contracts/payments/IPaymentChannels.sol";
import {PaymentChannels} from "../../../contracts/payments/PaymentChannels.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {ChannelState} from "../../../contracts/settlement/types/State.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";
import {Payments} from "./Payments.sol";
import {SparseTree} from "./SparseTree.sol";

/// @notice Vouchers, final states and the proofs that collecting needs; hashes as protocol.md §2 and §3 give them.
abstract contract Collecting is Payments {
    struct Leaf {
        uint32 channel;
        ChannelState state;
    }

    /// @dev A final state of an operator: every leaf of its channels' tree, ascending.
    function finalise(uint32 operator, Leaf[] memory leaves) internal returns (BatchHeader memory header) {
        header.operator = operator;
        header.sequence = 1;
        header.height = 1;
        header.count = 1;
        header.state.channelsRoot = prove(leaves, allOf(leaves.length)).root;
        settlement.setFinal(operator, headerHash(header));
    }

    function prove(Leaf[] memory leaves, bool[] memory targets) internal pure returns (SparseTree.Proof memory) {
        uint32[] memory ids = new uint32[](leaves.length);
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            ids[i] = leaves[i].channel;
            ChannelState memory state = leaves[i].state;
            hashes[i] = keccak256(
                abi.encodePacked(uint8(3), ids[i], state.spent, state.capSeen, state.top, state.bitmap)
            );
        }
        return SparseTree.prove(ids, hashes, targets);
    }

    function headerHash(BatchHeader memory header) internal pure returns (bytes32) {
        return
            keccak256(
                bytes.concat(
                    abi.encodePacked(uint8(7), header.operator, header.sequence, header.height, header.parentHash),
                    abi.encodePacked(header.registryTime, header.count, header.receiptsRoot, header.dataHash),
                    abi.encodePacked(header.state.earnersRoot, header.state.channelsRoot, header.state.totalSpent),
                    abi.encodePacked(header.state.treasuryEarned, header.state.operatorEarned)
                )
            );
    }

    function leafOf(uint32 channel, uint128 spent) internal pure returns (Leaf memory) {
        return Leaf(channel, ChannelState(spent, spent + 1, 7, 1));
    }

    function voucherOf(uint32 channel, uint128 cap) internal pure returns (Voucher memory) {
        return Voucher(channel, 7, 11, 1, keccak256("request"), 1e18, cap, 1_700_003_600);
    }

    function digestOf(PaymentChannels target, Voucher memory voucher) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("OpenLedger PaymentChannels"),
                keccak256("1"),
                block.chainid,
                address(target)
            )
        );
        bytes32 structHash = keccak256(
            bytes.concat(
                keccak256(
                    "Voucher(uint32 channel,uint64 nonce,uint32 agent,uint32 version,bytes32 requestHash,uint128 maxPrice,uint128 cap,uint64 expiry)"
                ),
                abi.encode(voucher)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function signed(Voucher memory voucher, uint256 key) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digestOf(channels, voucher));
        return abi.encodePacked(r, s, v);
    }

    /// @dev The honest collection of a leaf: the session key's voucher with a cap of exactly what was spent.
    function collectionOf(Leaf memory leaf) internal view returns (Collection memory) {
        Voucher memory voucher = voucherOf(leaf.channel, leaf.state.spent);
        return collectionWith(voucher, signed(voucher, SESSION_KEY), leaf.state);
    }

    /// @dev A collection with a signature of 65 bytes.
    function collectionWith(
        Voucher memory voucher,
        bytes memory signature,
        ChannelState memory state
    ) internal pure returns (Collection memory) {
        require(signature.length == 65, "signature of another length");
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        return Collection(voucher, r, s, uint8(signature[64]), state);
    }

    function collectionsOf(Leaf[] memory leaves) internal view returns (Collection[] memory collections) {
        collections = new Collection[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) collections[i] = collectionOf(leaves[i]);
    }

    function allOf(uint256 count) internal pure returns (bool[] memory all) {
        all = new bool[](count);
        for (uint256 i; i < count; ++i) all[i] = true;
    }

    function list(Leaf memory leaf) internal pure returns (Leaf[] memory leaves) {
        leaves = new Leaf[](1);
        leaves[0] = leaf;
    }

    function collectAll(BatchHeader memory header, Leaf[] memory leaves) internal returns (uint256) {
        SparseTree.Proof memory proof = prove(leaves, allOf(leaves.length));
        return channels.collect(header, collectionsOf(leaves), proof.siblings, proof.bitmap);
    }
}
