import { type CommittedReceipt, receiptLeaves, type SealedBatch } from "./batch.ts";
import { decodeBatchData } from "./batch-data.ts";
import { buildBatchTree } from "./batch-tree.ts";
import { MAX_BODY_BYTES } from "./bounds.ts";
import { sameBytes } from "./bytes.ts";
import { MalformedBytes } from "./errors.ts";
import { type BatchHeader, headerHash } from "./header.ts";
import { keccak } from "./keccak.ts";
import { type State, stateRoot, summarise } from "./state.ts";
import { applyReceipt, type Step, type StepContext } from "./step.ts";
import { VERDICT } from "./verdict.ts";

/** The first receipt of a batch that breaks a rule. */
export interface WrongStep {
  index: number;
  /** The state before it: still right. */
  before: State;
  /** What is wrong, with as much as was found out on the way. */
  step: Step;
}

/** What a replay found: the state after an honest batch, or the first lie. */
export type Replay = { after: State; wrong?: undefined } | { after?: undefined; wrong: WrongStep };

/**
 * Judges one committed receipt by all rules of docs/protocol.md §8, in their order.
 *
 * @param finalRoot The header's state root, when this is the batch's last receipt.
 */
export function judgeReceipt(
  before: State,
  receipt: CommittedReceipt | null,
  finalRoot: Uint8Array | null,
  context: StepContext,
): Step {
  if (!receipt) return { verdict: VERDICT.missingReceipt };
  if (receipt.length > MAX_BODY_BYTES) return { verdict: VERDICT.oversizedBody };
  if (finalRoot && !sameBytes(finalRoot, receipt.stateRoot)) return { verdict: VERDICT.finalStateMismatch };
  if (receipt.length !== receipt.body.length) return { verdict: VERDICT.lengthMismatch };
  const step = applyReceipt(before, receipt.body, context);
  if (!step.after || sameBytes(stateRoot(summarise(step.after)), receipt.stateRoot)) return step;
  return { ...step, verdict: VERDICT.wrongState, after: undefined };
}

/**
 * Replays a batch on the state after its parent.
 *
 * @param batch Header and receipts, known to belong together (see {@link openData}).
 */
export function replayBatch(
  before: State,
  batch: Pick<SealedBatch, "header" | "receipts">,
  context: StepContext,
): Replay {
  const finalRoot = stateRoot(batch.header.state);
  let state = before;
  for (let index = 0; index < batch.receipts.length; index++) {
    const isLast = index === batch.receipts.length - 1;
    const step = judgeReceipt(state, batch.receipts[index], isLast ? finalRoot : null, context);
    if (!step.after) return { wrong: { index, before: state, step } };
    state = step.after;
  }
  return { after: state };
}

/**
 * Opens the data published for a header.
 *
 * @returns The batch, or undefined when the data are not what the header commits to: malformed, of another batch, or
 * with a tree whose root is another. Such data are as good as withheld: the receipts have to be demanded.
 */
export function openData(header: BatchHeader, data: Uint8Array): SealedBatch | undefined {
  if (!sameBytes(keccak(data), header.dataHash)) return undefined;
  let receipts: (CommittedReceipt | null)[];
  try {
    const decoded = decodeBatchData(data);
    if (decoded.height !== header.height) return undefined;
    receipts = decoded.receipts;
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
  if (receipts.length !== header.count) return undefined;
  const tree = buildBatchTree(receiptLeaves(receipts));
  if (!sameBytes(tree.root, header.receiptsRoot)) return undefined;
  return { header, hash: headerHash(header), receipts, tree, data };
}
