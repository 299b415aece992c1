// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {FraudProof} from "./types/FraudProof.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title IReceiptVerifier
/// @notice Judges one receipt by the rules of protocol.md §8. Holds no state.
interface IReceiptVerifier {
    /// @notice Parts of a proof that must match a hash.
    enum Witness {
        /// The leaf at the index, by the header's receipts root.
        Receipt,
        /// The body, by the leaf's body hash.
        Body,
        /// The composition, by the agent registry.
        Composition,
        /// The preceding leaf, by the header's receipts root.
        Previous,
        /// The parent's header, by the header's parent hash.
        Parent,
        /// The state before, by the preceding leaf, the parent's header, or zeros.
        Before,
        /// The channel's state, by the channels root before.
        Channel,
        /// What the credited ids had earned, by the earners root before.
        Earners
    }

    /// @notice The batch has no receipt at this index.
    error Verifier_IndexOutOfRange(uint32 index, uint32 count);

    /// @notice Witness data do not match the hash that commits to them.
    error Verifier_WitnessMismatch(Witness witness, bytes32 given, bytes32 expected);

    /// @notice `earnedBefore` must name exactly the ids that the receipt credits.
    error Verifier_EarnerCount(uint256 given, uint256 expected);

    /// @notice Judges the receipt that the proof brings.
    /// @dev Total: whatever the receipt's leaf and body hold, the answer is a verdict. Reverts only when witness data do
    /// not match their hash; a witness is read only when a rule asks for it. That the header is that of a posted batch is
    /// for the caller to know.
    /// @param submittedAt When the batch was posted.
    function judge(FraudProof calldata proof, uint40 submittedAt) external view returns (Verdict);
}
