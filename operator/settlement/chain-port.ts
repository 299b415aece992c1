import type { Hex } from "../protocol/bytes.ts";
import type { ClaimWitness, CollectWitness, RevealWitness } from "../protocol/claims.ts";
import type { HeaderWitness } from "../protocol/fraud-proof.ts";
import type { Verdict } from "../protocol/verdict.ts";
import type { DemandStatus } from "./demand-status.ts";

/** Where an operator's chain of batches stands. Heights count from 1; 0 is before the first. */
export interface ChainStanding {
  tip: bigint;
  finalHeight: bigint;
  /** Sequence number of the newest batch ever posted, whether or not it stands. */
  sequence: bigint;
}

/** A proof by which a batch fell. */
export interface ProvenLie {
  index: number;
  verdict: Verdict;
}

/** A posted batch. Times are seconds since 1970. */
export interface PostedBatch {
  headerHash: Hex;
  submittedAt: number;
  /** Last second for the answer to the newest demand; 0 without one. */
  demandDeadline: number;
  openDemands: number;
}

/**
 * What settling reads from the chain and does to it. A method that sends resolves once its transaction is mined and has
 * succeeded; when it throws, {@link ChainPort.settled} tells when it is known whether it was mined all the same.
 */
export interface ChainPort {
  /** Time of the newest block, seconds since 1970. */
  time(): Promise<number>;
  /** Wei of the chain's coin for a unit of gas, as it would be paid now. */
  gasPrice(): Promise<bigint>;
  /** Waits until nothing that was sent, by this process or the one before it, is unknown any more. */
  settled(): Promise<void>;
  /** @param settled As it stood so many blocks ago that it will not be undone. */
  standing(operator: number, settled?: boolean): Promise<ChainStanding>;
  batchAt(operator: number, height: bigint): Promise<PostedBatch>;
  /** The proof against a batch; undefined when there was none. */
  provenLie(operator: number, headerHash: Hex): Promise<ProvenLie | undefined>;
  demandStatus(headerHash: Hex, chunk: number): Promise<DemandStatus>;
  /** What was collected from channels, in wei of OPEN. */
  collectedOf(channels: readonly number[]): Promise<bigint[]>;
  /** What ids were paid from an operator's pool, in wei of OPEN. */
  claimedOf(operator: number, ids: readonly number[]): Promise<bigint[]>;
  submitBatch(header: HeaderWitness): Promise<void>;
  finalize(operator: number, height: bigint): Promise<void>;
  collect(witness: CollectWitness): Promise<void>;
  /** Pays contributors; whom, the chain's payees say. */
  claim(witness: ClaimWitness): Promise<void>;
  claimTreasury(header: HeaderWitness): Promise<void>;
  claimOperator(header: HeaderWitness): Promise<void>;
  revealChunk(header: HeaderWitness, chunk: number, witness: RevealWitness): Promise<void>;
}
