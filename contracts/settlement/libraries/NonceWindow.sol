// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice Sliding window of 256 nonces, so that jobs may finish in any order (protocol.md §7).
library NonceWindow {
    /// @notice Marks `nonce` as used.
    /// @param top Highest nonce so far.
    /// @param bitmap Bit k says that nonce `top - k` is used.
    /// @return fresh False when the nonce is used already or fell out of the window; nothing changes then.
    function use(
        uint64 top,
        uint256 bitmap,
        uint64 nonce
    ) internal pure returns (bool fresh, uint64 newTop, uint256 newBitmap) {
        unchecked {
            if (nonce > top) {
                // A shift by 256 or more leaves zero.
                return (true, nonce, (bitmap << (nonce - top)) | 1);
            }
            uint256 below = top - nonce;
            uint256 bit = 1 << below;
            if (below > 255 || bitmap & bit != 0) return (false, top, bitmap);
            return (true, top, bitmap | bit);
        }
    }
}
