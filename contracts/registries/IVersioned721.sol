// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IContribution721} from "./IContribution721.sol";

/// @title IVersioned721
/// @notice A contribution that grows by versions, numbered from 1. A published version never changes.
interface IVersioned721 is IContribution721 {
    /// @notice Version `version` of `id` was published. An empty `uri` says that the token's URI stays what it was.
    event VersionPublished(uint32 indexed id, uint32 indexed version, bytes32 indexed contentHash, string uri);

    /// @notice The newest version of `id`; 0 when there is none. Never reverts.
    function headOf(uint32 id) external view returns (uint32);

    /// @notice What version `version` of `id` is and when it was published; zeros when it does not exist. Never reverts.
    function versionOf(uint32 id, uint32 version) external view returns (bytes32 contentHash, uint40 publishedAt);
}
