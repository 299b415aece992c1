// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ComposedAdapter, Composition, Pinned} from "../types/Composition.sol";

/// @notice The bytes of an agent version (protocol.md §4): one decoder for those who publish and those who judge.
library CompositionCodec {
    /// @notice What is wrong with a composition; whether its ids exist is for the registry to ask.
    enum Fault {
        None,
        /// Not as long as its counts say.
        Length,
        /// Not format 1.
        Format,
        /// More than 4 adapters, 8 DataNets or 4 tools.
        Counts,
        /// The seven shares do not sum to 1,000,000.
        Split,
        /// An empty pool goes to what is not 0 to 3.
        EmptyTo,
        /// A measure is neither 0 nor 1.
        Measure,
        /// No prompt, yet a version of it.
        Prompt,
        /// The adapters' shares do not sum to 1,000,000.
        AdapterShares,
        /// A DataNet is given twice.
        RepeatedDataNet,
        /// A class has a share and no member.
        EmptyClass
    }

    uint256 private constant MILLION = 1_000_000;
    uint256 private constant FORMAT = 1;
    uint256 private constant FIXED_LENGTH = 105;
    uint256 private constant ADAPTER_LENGTH = 16;
    uint256 private constant PINNED_LENGTH = 8;
    uint256 private constant MAX_ADAPTERS = 4;
    uint256 private constant MAX_DATA_NETS = 8;
    uint256 private constant MAX_TOOLS = 4;

    /// @notice Decodes a composition. Never reverts.
    /// @return fault The first thing that is wrong, in the order of `Fault`; `composition` is whole when it is `None`.
    function decode(bytes calldata encoded) internal pure returns (Fault fault, Composition memory composition) {
        if (encoded.length < FIXED_LENGTH) return (Fault.Length, composition);
        if (_uint(encoded, 0, 1) != FORMAT) return (Fault.Format, composition);
        uint256 adapters = _uint(encoded, 94, 1);
        uint256 dataNets = _uint(encoded, 95, 1);
        uint256 tools = _uint(encoded, 96, 1);
        if (adapters > MAX_ADAPTERS || dataNets > MAX_DATA_NETS || tools > MAX_TOOLS) {
            return (Fault.Counts, composition);
        }
        if (encoded.length != FIXED_LENGTH + ADAPTER_LENGTH * adapters + PINNED_LENGTH * (dataNets + tools)) {
            return (Fault.Length, composition);
        }

        composition.baseModel = bytes32(_uint(encoded, 1, 32));
        composition.perJob = uint96(_uint(encoded, 33, 12));
        composition.perPromptToken = uint64(_uint(encoded, 45, 8));
        composition.perCompletionToken = uint64(_uint(encoded, 53, 8));
        uint256 sum;
        for (uint256 i; i < 7; ++i) {
            composition.split[i] = uint32(_uint(encoded, 61 + 4 * i, 4));
            sum += composition.split[i];
        }
        if (sum != MILLION) return (Fault.Split, composition);
        for (uint256 i; i < 3; ++i) {
            composition.emptyTo[i] = uint8(_uint(encoded, 89 + i, 1));
            if (composition.emptyTo[i] > 3) return (Fault.EmptyTo, composition);
        }
        composition.contextMeasure = uint8(_uint(encoded, 92, 1));
        composition.trainingMeasure = uint8(_uint(encoded, 93, 1));
        if (composition.contextMeasure > 1 || composition.trainingMeasure > 1) return (Fault.Measure, composition);
        composition.prompt = _pinned(encoded, 97);
        if (composition.prompt.id == 0 && composition.prompt.version != 0) return (Fault.Prompt, composition);

        uint256 offset = FIXED_LENGTH;
        (sum, composition.adapters) = _adapters(encoded, offset, adapters);
        if (adapters != 0 && sum != MILLION) return (Fault.AdapterShares, composition);
        offset += ADAPTER_LENGTH * adapters;
        composition.dataNets = _pinnedList(encoded, offset, dataNets);
        if (_repeats(composition.dataNets)) return (Fault.RepeatedDataNet, composition);
        composition.tools = _pinnedList(encoded, offset + PINNED_LENGTH * dataNets, tools);

        uint32[7] memory split = composition.split;
        if (
            (adapters == 0 && (split[2] != 0 || split[5] != 0)) ||
            (composition.prompt.id == 0 && split[3] != 0) ||
            (dataNets == 0 && split[4] != 0) ||
            (tools == 0 && split[6] != 0)
        ) return (Fault.EmptyClass, composition);
        return (Fault.None, composition);
    }

    function _adapters(
        bytes calldata encoded,
        uint256 offset,
        uint256 count
    ) private pure returns (uint256 sum, ComposedAdapter[] memory adapters) {
        adapters = new ComposedAdapter[](count);
        for (uint256 i; i < count; ++i) {
            adapters[i] = ComposedAdapter({
                id: uint32(_uint(encoded, offset, 4)),
                version: uint32(_uint(encoded, offset + 4, 4)),
                sharePpm: uint32(_uint(encoded, offset + 8, 4)),
                scalePpm: uint32(_uint(encoded, offset + 12, 4))
            });
            sum += adapters[i].sharePpm;
            offset += ADAPTER_LENGTH;
        }
    }

    function _pinnedList(
        bytes calldata encoded,
        uint256 offset,
        uint256 count
    ) private pure returns (Pinned[] memory list) {
        list = new Pinned[](count);
        for (uint256 i; i < count; ++i) list[i] = _pinned(encoded, offset + PINNED_LENGTH * i);
    }

    function _pinned(bytes calldata encoded, uint256 offset) private pure returns (Pinned memory) {
        return Pinned({id: uint32(_uint(encoded, offset, 4)), version: uint32(_uint(encoded, offset + 4, 4))});
    }

    function _repeats(Pinned[] memory list) private pure returns (bool) {
        for (uint256 i = 1; i < list.length; ++i) {
            for (uint256 j; j < i; ++j) {
                if (list[i].id == list[j].id) return true;
            }
        }
        return false;
    }

    /// @dev The big-endian integer of `size` bytes at `offset`; the caller has checked the length.
    function _uint(bytes calldata encoded, uint256 offset, uint256 size) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(add(encoded.offset, offset)))
        }
    }
}
