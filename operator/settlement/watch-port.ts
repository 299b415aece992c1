import type { CommittedReceipt } from "../protocol/batch.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { FraudProof, HeaderWitness } from "../protocol/fraud-proof.ts";
import type { DemandStatus } from "./demand-status.ts";

/** A demand as the chain has it. */
export interface DemandStanding {
  status: DemandStatus;
  /** Last second for the answer, seconds since 1970. */
  deadline: number;
}

/** What a watcher reads from the chain and does to it; what is sent is mined when a method resolves. */
export interface WatchPort {
  /** Time of the newest block, seconds since 1970. */
  time(): Promise<number>;
  /** Waits until nothing that was sent is unknown any more. */
  settled(): Promise<void>;
  /** Whether a batch can still fall. */
  isPending(operator: number, height: bigint, headerHash: Hex): Promise<boolean>;
  demandOf(headerHash: Hex, chunk: number): Promise<DemandStanding>;
  /** The receipts with which a demand was answered, by their index in the chunk. */
  revealed(headerHash: Hex, chunk: number): Promise<CommittedReceipt[] | undefined>;
  proveFraud(proof: FraudProof): Promise<void>;
  /** Pays what a demand costs now. */
  demandChunk(header: HeaderWitness, chunk: number): Promise<void>;
  proveWithheld(header: HeaderWitness, chunk: number): Promise<void>;
}
