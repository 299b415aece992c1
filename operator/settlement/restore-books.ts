import { type OpenBatch, openBatch } from "../protocol/batch.ts";
import { AMOUNT_LIMIT } from "../protocol/bounds.ts";
import { ByteReader, ByteWriter, sameBytes } from "../protocol/bytes.ts";
import type { BatchHeader } from "../protocol/header.ts";
import type { RegistryView } from "../protocol/registry-view.ts";
import { readSnapshot, restoreState, snapshotBytes, takeSnapshot, writeSnapshot } from "../protocol/snapshot.ts";
import { type State, stateRoot, summarise } from "../protocol/state.ts";
import { applyReceipt, type StepContext } from "../protocol/step.ts";
import { verdictName } from "../protocol/verdict.ts";
import { Books } from "./books.ts";
import { JournalError } from "./errors.ts";
import type { Journal, JournaledBatch } from "./journal/journal.ts";
import type { ReceiptRecord } from "./sequencer.ts";

/**
 * Rebuilds the books from the journal: from the newest kept state, every receipt since is applied again and must lead
 * to the root that stands beside it.
 *
 * @param context Without the times, which are those of the batches and receipts.
 * @throws {JournalError} `corrupt` when a receipt leads elsewhere, or the registries do not answer as they did.
 */
export function restoreBooks(journal: Journal, context: Omit<StepContext, "registryTime" | "submittedAt">): Books {
  const books = new Books();
  const trusted: typeof context = { ...context, registry: withoutDeposits(context.registry) };
  const snapshot = journal.newestSnapshot();
  if (snapshot) {
    books.parent = journal.batch(snapshot.batch)?.header ?? null;
    books.state = restoredState(journal, snapshot, books.parent);
    books.lastSequence = snapshot.batch;
  }
  for (const batch of journal.batches(books.lastSequence)) {
    const receipts = journal.receiptsOfBatch(batch.sequence);
    const open = reapplied(journal, books.state, batch, receipts, trusted);
    books.state = open.state;
    books.lastSequence = batch.sequence;
    if (batch.header) {
      books.parent = batch.header;
      books.unkeptReceipts += receipts.length;
    } else {
      books.open = { sequence: batch.sequence, registryTime: batch.registryTime, receipts: [...open.receipts] };
    }
  }
  books.receiptCount = journal.receiptCount();
  for (const { channel, nonce, maxPrice } of journal.vouchersInFlight()) {
    books.setInFlight(channel, new Map(books.account(channel).inFlight).set(nonce, maxPrice));
  }
  return books;
}

/** A state's bytes in the journal; its totals stand in the header. */
export function encodeState(state: State): Uint8Array {
  const snapshot = takeSnapshot(state);
  const writer = new ByteWriter(snapshotBytes(snapshot));
  writeSnapshot(writer, snapshot);
  return writer.finish();
}

function restoredState(
  journal: Journal,
  { batch, bytes }: { batch: number; bytes: Uint8Array },
  at: BatchHeader | null,
) {
  const reader = new ByteReader(bytes);
  const state = at && restoreState(readSnapshot(reader), at.state);
  if (!state) throw corrupt(journal, `the state kept after batch ${batch} is not that of its header`);
  return state;
}

function reapplied(
  journal: Journal,
  before: State,
  batch: JournaledBatch,
  receipts: readonly ReceiptRecord[],
  context: Omit<StepContext, "registryTime" | "submittedAt">,
): OpenBatch {
  const { registryTime } = batch;
  const open = openBatch(before, { ...context, registryTime, submittedAt: 0 });
  for (const [index, { body, stateRoot: root, channel, completedAt }] of receipts.entries()) {
    // Signatures were checked before the journal took them.
    const recover = () => context.registry.channel(channel)?.sessionKey.toLowerCase() as `0x${string}` | undefined;
    const step = applyReceipt(open.state, body, { ...context, registryTime, submittedAt: completedAt, recover });
    if (!step.after) {
      const why = verdictName(step.verdict);
      throw corrupt(journal, `receipt ${index} of batch ${batch.sequence} no longer follows the rules: ${why}`);
    }
    if (!sameBytes(stateRoot(summarise(step.after)), root)) {
      throw corrupt(journal, `receipt ${index} of batch ${batch.sequence} leads to another state`);
    }
    open.state = step.after;
    open.receipts.push({ length: body.length, stateRoot: root, body });
  }
  const summary = batch.header && stateRoot(batch.header.state);
  if (summary && !sameBytes(stateRoot(summarise(open.state)), summary)) {
    throw corrupt(journal, `batch ${batch.sequence} leads to another state than its header's`);
  }
  return open;
}

/** Payers may have withdrawn since: what was covered when it was charged stays charged. */
function withoutDeposits(registry: RegistryView): RegistryView {
  return {
    channel: (id) => {
      const channel = registry.channel(id);
      return channel && { ...channel, deposit: AMOUNT_LIMIT };
    },
    agentVersion: (agent, version) => registry.agentVersion(agent, version),
    contribution: (id) => registry.contribution(id),
    lineage: (adapter, version, index) => registry.lineage(adapter, version, index),
    protocolShareAt: (time) => registry.protocolShareAt(time),
  };
}

function corrupt(journal: Journal, what: string): JournalError {
  return new JournalError("corrupt", `${journal.file}: ${what}.`, { file: journal.file });
}
