// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IOperatorRegistry} from "../payments/IOperatorRegistry.sol";
import {IIdAllocator} from "../registries/IIdAllocator.sol";
import {BatchChain} from "./BatchChain.sol";
import {ChunkDemands} from "./ChunkDemands.sol";
import {EarnerPools} from "./EarnerPools.sol";
import {IAttributionSettlement} from "./IAttributionSettlement.sol";
import {IProtocolParameters} from "./IProtocolParameters.sol";
import {IReceiptVerifier} from "./IReceiptVerifier.sol";
import {Windows} from "./Windows.sol";
import {FraudProof} from "./types/FraudProof.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title AttributionSettlement
/// @notice Batches, demands for their receipts, and payments against what became final; here, the proof of a wrong receipt.
contract AttributionSettlement is ChunkDemands, EarnerPools, IAttributionSettlement {
    IReceiptVerifier public immutable VERIFIER;

    constructor(
        IERC20 token,
        IIdAllocator allocator,
        IOperatorRegistry operators,
        address channels,
        IProtocolParameters parameters,
        IReceiptVerifier verifier,
        Windows memory windows
    )
        BatchChain(operators, parameters, windows)
        ChunkDemands(windows)
        EarnerPools(token, allocator, channels, windows)
    {
        VERIFIER = verifier;
    }

    /// @inheritdoc IAttributionSettlement
    function proveFraud(FraudProof calldata proof) external nonReentrant returns (Verdict verdict) {
        // Check: the batch is pending, and the receipt breaks a rule.
        (bytes32 headerHash, PostedBatch storage batch) = _pending(proof.header);
        verdict = VERIFIER.judge(proof, batch.submittedAt);
        if (verdict == Verdict.Valid) revert Settlement_NotFraud();

        // Effect: the batch falls.
        emit FraudProven(proof.header.operator, proof.header.height, headerHash, proof.index, verdict, msg.sender);
        _fall(proof.header, headerHash);

        // Interaction: the bond is slashed.
        OPERATORS.slash(proof.header.operator, msg.sender);
    }
}
