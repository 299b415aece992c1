import { type OpenBatch, openBatch } from "../protocol/batch.ts";
import { AMOUNT_LIMIT } from "../protocol/bounds.ts";
import { ByteReader, ByteWriter, sameBytes } from "../protocol/bytes.ts";
import type { BatchHeader } from "../protocol/header.ts";
import type { RegistryView } from "../protocol/registry-view.ts";
import { readSnapshot, restoreState, snapshotBytes, takeSnapshot, writeSnapshot } from "../protocol/snapshot.ts";
import { emptyState, type State, stateRoot, summarise } from "../protocol/state.ts";
import { applyReceipt, type StepContext } from "../protocol/step.ts";
import { verdictName } from "../protocol/verdict.ts";
import { Books } from "./books.ts";
import { JournalError } from "./errors.ts";
import type { Journal } from "./journal/journal.ts";
import type { JournaledBatch } from "./journal/rows.ts";
import type { ReceiptRecord } from "./sequencer.ts";

/** What judging needs but the times, which are those of the batches and receipts. */
export type RestoreContext = Omit<StepContext, "registryTime" | "submittedAt">;

/**
 * Rebuilds the books from the journal: from the newest kept state, every receipt since is applied again and must lead
 * to the root that stands beside it.
 *
 * @throws {JournalError} `corrupt` when a receipt leads elsewhere, or the registries do not answer as they did.
 */
export function restoreBooks(journal: Journal, context: RestoreContext): Books {
  const books = new Books();
  const kept = keptState(journal, Number.MAX_SAFE_INTEGER);
  if (kept) {
    books.parent = kept.header;
    books.state = kept.state;
    books.lastSequence = Number(kept.header.sequence);
  }
  for (const batch of journal.batches(books.lastSequence)) {
    const receipts = journal.receiptsOfBatch(batch.sequence);
    const open = reapplied(journal, books.state, batch, receipts, context);
    books.state = open.state;
    books.lastSequence = batch.sequence;
    if (batch.header) {
      books.parent = batch.header;
      books.unkeptReceipts += receipts.length;
    } else {
      const { sequence, registryTime } = batch;
      books.open = { sequence, registryTime, since: receipts[0].completedAt, receipts: [...open.receipts] };
    }
  }
  books.lastSequence = journal.lastSequence();
  books.lastPosition = journal.lastPosition();
  for (const { channel, nonce, maxPrice } of journal.vouchersInFlight()) {
    books.setInFlight(channel, new Map(books.account(channel).inFlight).set(nonce, maxPrice));
  }
  return books;
}

/**
 * The state after a sealed batch.
 *
 * @throws {JournalError} `corrupt`, as {@link restoreBooks}.
 */
export function stateAfterBatch(journal: Journal, context: RestoreContext, sequence: number): State {
  const kept = keptState(journal, sequence);
  let state = kept?.state ?? emptyState();
  for (const batch of journal.batches(Number(kept?.header.sequence ?? 0n))) {
    if (batch.sequence > sequence) break;
    state = reapplied(journal, state, batch, journal.receiptsOfBatch(batch.sequence), context).state;
  }
  return state;
}

/** A state's bytes in the journal; its totals stand in the header. */
export function encodeState(state: State): Uint8Array {
  const snapshot = takeSnapshot(state);
  const writer = new ByteWriter(snapshotBytes(snapshot));
  writeSnapshot(writer, snapshot);
  return writer.finish();
}

/** The newest kept state at or below a batch. */
function keptState(journal: Journal, atMost: number): { state: State; header: BatchHeader } | undefined {
  const snapshot = journal.newestSnapshot(atMost);
  if (!snapshot) return undefined;
  const header = journal.batch(snapshot.batch)?.header;
  const state = header && restoreState(readSnapshot(new ByteReader(snapshot.bytes)), header.state);
  if (!state) throw corrupt(journal, `the state kept after batch ${snapshot.batch} is not that of its header`);
  return { state, header };
}

function reapplied(
  journal: Journal,
  before: State,
  batch: JournaledBatch,
  receipts: readonly ReceiptRecord[],
  given: RestoreContext,
): OpenBatch {
  const { registryTime } = batch;
  const context = { ...given, registry: withoutDeposits(given.registry) };
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
