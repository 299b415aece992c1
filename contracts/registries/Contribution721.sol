// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IContribution721} from "./IContribution721.sol";
import {IIdAllocator} from "./IIdAllocator.sol";
import {Payee, PayeesLib} from "./PayeesLib.sol";

/// @title Contribution721
/// @notice What {IContribution721} describes.
abstract contract Contribution721 is ERC721, IContribution721 {
    /// @notice How long a new list of payees is announced ahead.
    uint40 public constant PAYEES_DELAY = 7 days;

    /// @notice Longest name and licence in bytes.
    uint256 public constant MAX_NAME_LENGTH = 128;

    /// @notice Longest URI in bytes.
    uint256 public constant MAX_URI_LENGTH = 1024;

    /// @notice Where ids come from.
    IIdAllocator public immutable ALLOCATOR;

    /// @dev `next` counts from `effectiveAt` on, unless that is zero. Three slots, of which a contribution without a list
    /// uses none.
    struct PayeesRecord {
        bytes32 current;
        bytes32 next;
        uint40 effectiveAt;
    }

    mapping(uint32 id => PayeesRecord) private _payees;
    mapping(uint32 id => string) private _uris;
    mapping(uint32 id => string) private _licences;

    constructor(IIdAllocator allocator, string memory name_, string memory symbol_) ERC721(name_, symbol_) {
        ALLOCATOR = allocator;
    }

    /// @dev Reverts unless the caller owns `id`.
    modifier onlyOwnerOf(uint32 id) {
        address owner = _ownerOf(id);
        if (owner == address(0)) revert Contribution_Unknown(id);
        if (owner != msg.sender) revert Contribution_NotOwner(id, msg.sender);
        _;
    }

    /// @inheritdoc IContribution721
    function setPayees(uint32 id, Payee[] calldata payees) external onlyOwnerOf(id) {
        // Check.
        PayeesLib.validate(payees);

        // Effect: what was announced and is due by now becomes what the new list will replace.
        bytes32 next = PayeesLib.hash(payees);
        uint40 effectiveAt = uint40(block.timestamp) + PAYEES_DELAY;
        _payees[id] = PayeesRecord(payeesHashOf(id), next, effectiveAt);
        emit PayeesSet(id, next, effectiveAt, payees);
    }

    /// @inheritdoc IContribution721
    function payeesHashOf(uint32 id) public view returns (bytes32) {
        PayeesRecord storage record = _payees[id];
        uint40 effectiveAt = record.effectiveAt;
        return effectiveAt != 0 && block.timestamp >= effectiveAt ? record.next : record.current;
    }

    /// @inheritdoc IContribution721
    function pendingPayeesOf(uint32 id) external view returns (bytes32 payeesHash, uint40 effectiveAt) {
        PayeesRecord storage record = _payees[id];
        effectiveAt = record.effectiveAt;
        if (block.timestamp >= effectiveAt) return (0, 0);
        payeesHash = record.next;
    }

    /// @inheritdoc IContribution721
    function contentHashOf(uint32 id) external view virtual returns (bytes32);

    /// @inheritdoc IContribution721
    function licenceOf(uint32 id) external view returns (string memory) {
        return _licences[id];
    }

    /// @notice The URI of `id`; that of its newest version where versions have one.
    function tokenURI(uint256 id) public view override returns (string memory) {
        _requireOwned(id);
        // Safe cast: only ids of 32 bits are ever minted.
        return _uris[uint32(id)];
    }

    /// @notice ERC-165.
    function supportsInterface(bytes4 interfaceId) public view override(ERC721, IERC165) returns (bool) {
        return interfaceId == type(IContribution721).interfaceId || super.supportsInterface(interfaceId);
    }

    /// @dev Makes a contribution of the caller's. `_mint` calls nobody, so there is no way in before all is written.
    function _register(
        string memory name_,
        bytes32 contentHash,
        string calldata uri,
        string calldata licence,
        Payee[] calldata payees
    ) internal returns (uint32 id) {
        // Check.
        _checkContent(contentHash);
        _checkText(name_, MAX_NAME_LENGTH);
        _checkText(licence, MAX_NAME_LENGTH);
        PayeesLib.validate(payees);

        // Interaction: with the allocator, which is part of this deployment and calls nobody.
        id = ALLOCATOR.allocate();

        // Effect.
        _mint(msg.sender, id);
        _setUri(id, uri);
        _licences[id] = licence;
        emit Registered(id, msg.sender, name_, contentHash, uri, licence);
        if (payees.length != 0) {
            bytes32 payeesHash = PayeesLib.hash(payees);
            _payees[id].current = payeesHash;
            emit PayeesSet(id, payeesHash, uint40(block.timestamp), payees);
        }
    }

    function _setUri(uint32 id, string calldata uri) internal {
        _checkText(uri, MAX_URI_LENGTH);
        _uris[id] = uri;
    }

    function _checkContent(bytes32 contentHash) internal pure {
        if (contentHash == 0) revert Contribution_NoContent();
    }

    function _checkText(string memory text, uint256 maximum) internal pure {
        uint256 length = bytes(text).length;
        if (length > maximum) revert Contribution_TextTooLong(length, maximum);
    }

    /// @dev Hands the earnings to the new owner. A list in force stays so for the delay: otherwise an owner could take
    /// what its payees have earned and not yet claimed, by a transfer to itself.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = super._update(to, tokenId, auth);
        if (from == address(0)) return from;

        uint32 id = uint32(tokenId);
        PayeesRecord storage record = _payees[id];
        bytes32 current = payeesHashOf(id);
        bool isPending = record.effectiveAt > block.timestamp;
        // A reset that is on its way already is not put off by a further transfer.
        if (isPending && record.next == PayeesLib.OWNER_ALONE) return from;

        uint40 effectiveAt = uint40(block.timestamp);
        if (current != PayeesLib.OWNER_ALONE) {
            effectiveAt += PAYEES_DELAY;
            _payees[id] = PayeesRecord(current, PayeesLib.OWNER_ALONE, effectiveAt);
        } else if (isPending) {
            delete _payees[id];
        } else {
            return from;
        }
        emit PayeesReset(id, effectiveAt);
    }
}
