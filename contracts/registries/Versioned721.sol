// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Contribution721} from "./Contribution721.sol";
import {IContribution721} from "./IContribution721.sol";
import {IVersionHeads} from "./IVersionHeads.sol";
import {IVersioned721} from "./IVersioned721.sol";

/// @title Versioned721
/// @notice What {IVersioned721} describes.
abstract contract Versioned721 is Contribution721, IVersioned721 {
    /// @dev Two slots; written once.
    struct VersionRecord {
        bytes32 contentHash;
        uint40 publishedAt;
    }

    /// @inheritdoc IVersionHeads
    mapping(uint32 id => uint32) public headOf;

    mapping(uint32 id => mapping(uint32 version => VersionRecord)) private _versions;

    /// @inheritdoc IVersioned721
    function versionOf(uint32 id, uint32 version) public view returns (bytes32 contentHash, uint40 publishedAt) {
        VersionRecord storage record = _versions[id][version];
        return (record.contentHash, record.publishedAt);
    }

    /// @inheritdoc IContribution721
    function contentHashOf(
        uint32 id
    ) external view virtual override(Contribution721, IContribution721) returns (bytes32 contentHash) {
        (contentHash, ) = versionOf(id, headOf[id]);
    }

    /// @dev Publishes the next version with a URI of its own.
    function _publish(uint32 id, bytes32 contentHash, string calldata uri) internal returns (uint32 version) {
        _checkContent(contentHash);
        _setUri(id, uri);
        version = _append(id, contentHash);
        emit VersionPublished(id, version, contentHash, uri);
    }

    /// @dev Publishes the next version under the token's present URI.
    function _publish(uint32 id, bytes32 contentHash) internal returns (uint32 version) {
        version = _append(id, contentHash);
        emit VersionPublished(id, version, contentHash, "");
    }

    function _append(uint32 id, bytes32 contentHash) private returns (uint32 version) {
        version = ++headOf[id];
        _versions[id][version] = VersionRecord(contentHash, uint40(block.timestamp));
    }
}
