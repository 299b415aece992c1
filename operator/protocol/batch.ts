import { encodeBatchData } from "./batch-data.ts";
import { type BatchTree, buildBatchTree } from "./batch-tree.ts";
import { MAX_RECEIPTS_PER_BATCH } from "./bounds.ts";
import { ZERO_HASH } from "./bytes.ts";
import { ProtocolError } from "./errors.ts";
import { type BatchHeader, headerHash } from "./header.ts";
import { keccak } from "./keccak.ts";
import { encodeReceipt, type Receipt, receiptLeaf } from "./receipt.ts";
import { type State, stateRoot, summarise } from "./state.ts";
import { applyReceipt, type Step, type StepContext } from "./step.ts";
import { VERDICT } from "./verdict.ts";

/** A receipt as a batch commits to it. */
export interface CommittedReceipt {
  /** Bytes of the body, as the leaf says; in an honest batch the body's length. */
  length: number;
  /** Root of the state after the receipt, as the leaf says, 32 bytes. */
  stateRoot: Uint8Array;
  body: Uint8Array;
}

/** A batch that receipts are being added to. */
export interface OpenBatch {
  readonly context: StepContext;
  /** The state after the receipts so far. */
  state: State;
  readonly receipts: CommittedReceipt[];
}

/** A batch as it is posted: the header on the chain, the data beside it. */
export interface SealedBatch {
  header: BatchHeader;
  hash: Uint8Array;
  /** Null stands for a leaf that is zero, which no honest batch has. */
  receipts: readonly (CommittedReceipt | null)[];
  tree: BatchTree;
  /** The bytes to publish. */
  data: Uint8Array;
}

/** Starts a batch on the state after its parent. */
export function openBatch(state: State, context: StepContext): OpenBatch {
  return { context, state, receipts: [] };
}

/**
 * Adds a receipt if every rule allows it; otherwise the batch stays as it was and the step's verdict says why.
 *
 * @throws {ProtocolError} When the batch is full.
 * @throws {MalformedBytes} When the receipt cannot be written.
 */
export function appendReceipt(batch: OpenBatch, receipt: Receipt): Step {
  if (batch.receipts.length >= MAX_RECEIPTS_PER_BATCH) throw new ProtocolError("The batch is full", "9");
  const body = encodeReceipt(receipt);
  const step = applyReceipt(batch.state, body, batch.context);
  if (step.verdict === VERDICT.valid && step.after) {
    batch.state = step.after;
    batch.receipts.push({ length: body.length, stateRoot: stateRoot(summarise(step.after)), body });
  }
  return step;
}

/**
 * Closes a batch: builds its tree, its data and its header.
 *
 * @param parent Header of the batch below, or null for the first.
 * @param sequence A number that this operator has never used.
 * @throws {ProtocolError} When the batch is empty.
 */
export function sealBatch(batch: OpenBatch, parent: BatchHeader | null, sequence: bigint): SealedBatch {
  if (batch.receipts.length === 0) throw new ProtocolError("The batch is empty", "9");
  const { operator, registryTime } = batch.context;
  const height = (parent?.height ?? 0n) + 1n;
  const tree = buildBatchTree(receiptLeaves(batch.receipts));
  const data = encodeBatchData(height, batch.receipts, batch.state);
  const header: BatchHeader = {
    operator,
    sequence,
    height,
    parentHash: parent ? headerHash(parent) : ZERO_HASH,
    registryTime,
    count: batch.receipts.length,
    receiptsRoot: tree.root,
    dataHash: keccak(data),
    state: summarise(batch.state),
  };
  return { header, hash: headerHash(header), receipts: batch.receipts, tree, data };
}

/** The leaves of a batch's receipts, by their index. */
export function receiptLeaves(receipts: readonly (CommittedReceipt | null)[]): Uint8Array[] {
  return receipts.map((receipt, index) =>
    receipt ? receiptLeaf(index, { ...receipt, bodyHash: keccak(receipt.body) }) : ZERO_HASH,
  );
}
