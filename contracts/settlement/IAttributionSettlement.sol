// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ISettlementPools} from "../payments/ISettlementPools.sol";
import {IBatchChain} from "./IBatchChain.sol";
import {IChunkDemands} from "./IChunkDemands.sol";
import {IEarnerPools} from "./IEarnerPools.sol";
import {FraudProof} from "./types/FraudProof.sol";
import {Verdict} from "./types/Verdict.sol";

/// @title IAttributionSettlement
/// @notice Operators post batches of receipts; a wrong one is proven in one transaction and falls with the operator's
/// bond; what stands becomes final, and contributors are paid against it. The rules are those of protocol.md §9.
interface IAttributionSettlement is ISettlementPools, IBatchChain, IChunkDemands, IEarnerPools {
    /// @notice The receipt at `index` of a batch was proven wrong.
    event FraudProven(
        uint32 indexed operator,
        uint64 indexed height,
        bytes32 indexed headerHash,
        uint32 index,
        Verdict verdict,
        address prover
    );

    /// @notice The receipt keeps all rules.
    error Settlement_NotFraud();

    /// @notice Proves one receipt of a pending batch wrong: the batch falls, and the caller gets half of the bond.
    function proveFraud(FraudProof calldata proof) external returns (Verdict verdict);
}
