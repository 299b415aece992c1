// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IContribution721} from "./IContribution721.sol";
import {IVersionHeads} from "./IVersionHeads.sol";

/// @title IVersioned721
/// @notice A contribution that grows by versions, numbered from 1. A published version never changes.
interface IVersioned721 is IContribution721, IVersionHeads {
    /// @notice Version `version` of `id` was published. An empty `uri` says that the token's URI stays what it was.
    event VersionPublished(uint32 indexed id, uint32 indexed version, bytes32 indexed contentHash, string uri);

    /// @notice What version `version` of `id` is and when it was published; zeros when it does not exist. Never reverts.
    function versionOf(uint32 id, uint32 version) external view returns (bytes32 contentHash, uint40 publishedAt);
}
