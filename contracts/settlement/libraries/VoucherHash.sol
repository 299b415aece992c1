// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Voucher} from "../types/Voucher.sol";

/// @notice EIP-712 digest and signature of a voucher (protocol.md §3).
library VoucherHash {
    string internal constant NAME = "OpenLedger PaymentChannels";
    string internal constant VERSION = "1";

    bytes32 internal constant TYPEHASH = keccak256(
        "Voucher(uint32 channel,uint64 nonce,uint32 agent,uint32 version,bytes32 requestHash,uint128 maxPrice,uint128 cap,uint64 expiry)"
    );

    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );

    /// @dev Half of the order of secp256k1; a signature above it has a twin below it.
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Domain separator of `channels` on this chain.
    function domainSeparator(address channels) internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(DOMAIN_TYPEHASH, keccak256(bytes(NAME)), keccak256(bytes(VERSION)), block.chainid, channels)
            );
    }

    /// @notice EIP-712 struct hash.
    function structHash(Voucher memory voucher) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    TYPEHASH,
                    voucher.channel,
                    voucher.nonce,
                    voucher.agent,
                    voucher.version,
                    voucher.requestHash,
                    voucher.maxPrice,
                    voucher.cap,
                    voucher.expiry
                )
            );
    }

    /// @notice What the session key signs, and the job's id.
    function digest(bytes32 domain, Voucher memory voucher) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, structHash(voucher)));
    }

    /// @notice What the session key signs, of a voucher in calldata.
    /// @dev Hashes the words as they stand: a field with dirty high bits gives another digest, which nobody signed.
    function digestOf(bytes32 domain, Voucher calldata voucher) internal pure returns (bytes32 hash) {
        bytes32 typeHash = TYPEHASH;
        assembly ("memory-safe") {
            // Beyond the free memory pointer, which stays where it is. The struct's 8 words follow the type's hash.
            let buffer := mload(0x40)
            mstore(buffer, typeHash)
            calldatacopy(add(buffer, 32), voucher, 256)
            let structHash_ := keccak256(buffer, 288)
            mstore(buffer, shl(240, 0x1901))
            mstore(add(buffer, 2), domain)
            mstore(add(buffer, 34), structHash_)
            hash := keccak256(buffer, 66)
        }
    }

    /// @notice True when `key` signed `hash`: low `s`, `v` 27 or 28. Never reverts.
    function signedBy(bytes32 hash, bytes32 r, bytes32 s, uint8 v, address key) internal pure returns (bool) {
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) return false;
        address signer = ecrecover(hash, v, r, s);
        return signer != address(0) && signer == key;
    }
}
