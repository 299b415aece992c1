// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {PoolEntry, Receipt} from "../types/Receipt.sol";
import {Voucher} from "../types/Voucher.sol";

/// @notice The bytes of a receipt (protocol.md §5).
library ReceiptCodec {
    /// @notice Longest body in bytes that a leaf may commit to.
    uint256 internal constant MAX_LENGTH = 1_024;

    uint256 private constant FORMAT = 1;
    uint256 private constant FIXED_LENGTH = 245;
    uint256 private constant ENTRY_LENGTH = 8;
    uint256 private constant MAX_CONTEXT = 12;
    uint256 private constant MAX_TRAINING = 12;
    uint256 private constant MAX_TOOLS = 4;

    /// @notice Decodes a body. Never reverts.
    /// @return ok False unless the format is 1, the counts are within bounds and the length is what the counts say;
    /// what else the fields hold is for the verifier to judge.
    function decode(bytes calldata body) internal pure returns (bool ok, Receipt memory receipt) {
        if (body.length < FIXED_LENGTH || _uint(body, 0, 1) != FORMAT) return (false, receipt);
        uint256 context = _uint(body, 242, 1);
        uint256 training = _uint(body, 243, 1);
        uint256 tools = _uint(body, 244, 1);
        if (context > MAX_CONTEXT || training > MAX_TRAINING || tools > MAX_TOOLS) return (false, receipt);
        if (body.length != FIXED_LENGTH + ENTRY_LENGTH * (context + training + tools)) return (false, receipt);

        receipt.voucher = Voucher({
            channel: uint32(_uint(body, 1, 4)),
            nonce: uint64(_uint(body, 5, 8)),
            agent: uint32(_uint(body, 13, 4)),
            version: uint32(_uint(body, 17, 4)),
            requestHash: bytes32(_uint(body, 21, 32)),
            maxPrice: uint128(_uint(body, 53, 16)),
            cap: uint128(_uint(body, 69, 16)),
            expiry: uint64(_uint(body, 85, 8))
        });
        receipt.r = bytes32(_uint(body, 93, 32));
        receipt.s = bytes32(_uint(body, 125, 32));
        receipt.v = uint8(_uint(body, 157, 1));
        receipt.responseHash = bytes32(_uint(body, 158, 32));
        receipt.traceHash = bytes32(_uint(body, 190, 32));
        receipt.promptTokens = uint32(_uint(body, 222, 4));
        receipt.completionTokens = uint32(_uint(body, 226, 4));
        receipt.price = uint96(_uint(body, 230, 12));
        receipt.context = _entries(body, FIXED_LENGTH, context);
        receipt.training = _entries(body, FIXED_LENGTH + ENTRY_LENGTH * context, training);
        receipt.tools = _entries(body, FIXED_LENGTH + ENTRY_LENGTH * (context + training), tools);
        return (true, receipt);
    }

    function _entries(
        bytes calldata body,
        uint256 offset,
        uint256 count
    ) private pure returns (PoolEntry[] memory entries) {
        entries = new PoolEntry[](count);
        for (uint256 i; i < count; ++i) {
            uint256 packed = _uint(body, offset, ENTRY_LENGTH);
            entries[i] = PoolEntry({id: uint32(packed >> 32), ppm: uint24(packed >> 8), via: uint8(packed)});
            offset += ENTRY_LENGTH;
        }
    }

    /// @dev The big-endian integer of `size` bytes at `offset`; the caller has checked the length.
    function _uint(bytes calldata body, uint256 offset, uint256 size) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(add(body.offset, offset)))
        }
    }
}
