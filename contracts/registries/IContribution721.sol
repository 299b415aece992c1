// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {Payee} from "./PayeesLib.sol";

/// @title IContribution721
/// @notice A contribution as a token: whoever owns it is paid for it, or names up to 64 payees who are. Only the hash of
/// the list is stored; whoever pays supplies the list.
///
/// Every list but the first takes effect after `PAYEES_DELAY`, so that those who leave can have their claims pushed. For
/// the same reason a transfer, which hands the earnings to the new owner alone, leaves a list that is in force in force
/// for that long; without a list the new owner is the payee at once. A transfer cancels an announced change.
interface IContribution721 is IERC721 {
    /// @notice A contribution came into being.
    event Registered(
        uint32 indexed id,
        address indexed owner,
        string name,
        bytes32 contentHash,
        string uri,
        string licence
    );

    /// @notice The payees of `id` are `payees` from `effectiveAt` on; the owner alone when the list is empty.
    event PayeesSet(uint32 indexed id, bytes32 indexed payeesHash, uint40 effectiveAt, Payee[] payees);

    /// @notice A transfer of `id` cancelled what was announced; from `effectiveAt` on its owner alone is paid.
    event PayeesReset(uint32 indexed id, uint40 effectiveAt);

    /// @notice There is no contribution `id` in this registry.
    error Contribution_Unknown(uint32 id);

    /// @notice Only the owner of `id` may do this.
    error Contribution_NotOwner(uint32 id, address caller);

    /// @notice A content hash must not be zero.
    error Contribution_NoContent();

    /// @notice A text is longer than `maximum` bytes.
    error Contribution_TextTooLong(uint256 length, uint256 maximum);

    /// @notice Announces new payees for `id`; the empty list stands for the owner alone. Replaces an announced change and
    /// starts the delay anew.
    function setPayees(uint32 id, Payee[] calldata payees) external;

    /// @notice Hash of the payees in force now; zero stands for the owner alone. Zero for an unknown id; never reverts.
    function payeesHashOf(uint32 id) external view returns (bytes32);

    /// @notice The announced change of payees: its hash and the time from which it holds; the time is zero when none is.
    function pendingPayeesOf(uint32 id) external view returns (bytes32 payeesHash, uint40 effectiveAt);

    /// @notice Hash of what was contributed; of an adapter, prompt or tool, its newest version's. Zero for an unknown id.
    function contentHashOf(uint32 id) external view returns (bytes32);

    /// @notice The licence under which it was contributed, an SPDX expression. Empty for an unknown id.
    function licenceOf(uint32 id) external view returns (string memory);
}
