// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";

/// @notice The header's hash by the book, field by field.
library ReferenceHeader {
    /// @notice The name of a batch.
    function hash(BatchHeader memory batch) internal pure returns (bytes32) {
        return
            keccak256(
                bytes.concat(
                    abi.encodePacked(
                        uint8(0x07),
                        batch.operator,
                        batch.sequence,
                        batch.height,
                        batch.parentHash,
                        batch.registryTime,
                        batch.count,
                        batch.receiptsRoot,
                        batch.dataHash
                    ),
                    abi.encodePacked(
                        batch.state.earnersRoot,
                        batch.state.channelsRoot,
                        batch.state.totalSpent,
                        batch.state.treasuryEarned,
                        batch.state.operatorEarned
                    )
                )
            );
    }
}
