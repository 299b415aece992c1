import { receiptLeaves, type SealedBatch } from "../protocol/batch.ts";
import { buildBatchTree, chunkCount } from "../protocol/batch-tree.ts";
import { settlingTime, type Windows } from "../protocol/bounds.ts";
import { fromHex, type Hex, sameBytes } from "../protocol/bytes.ts";
import { buildFraudProof, headerWitness } from "../protocol/fraud-proof.ts";
import type { BatchHeader } from "../protocol/header.ts";
import type { RegistryView } from "../protocol/registry-view.ts";
import { openData, replayBatch } from "../protocol/replay.ts";
import { emptyState, type State } from "../protocol/state.ts";
import { type VerdictName, verdictName } from "../protocol/verdict.ts";
import { finalBatches, newestFinalSnapshot } from "./final-snapshot.ts";
import type { WatchPort } from "./watch-port.ts";

/** A batch on the chain, as the registry mirror gives it. */
export interface WatchedBatch {
  header: BatchHeader;
  headerHash: Hex;
  /** Seconds since 1970. */
  submittedAt: number;
  final: boolean;
}

/** What the watcher asks of the mirror beyond the protocol's rules. */
export interface WatchedRegistry extends RegistryView {
  operators(): readonly number[];
  /** The batches of an operator that stand, from height 1 on. */
  batches(operator: number): readonly WatchedBatch[];
}

export interface WatcherOptions {
  chain: WatchPort;
  registry: WatchedRegistry;
  /** Data published for a header, or undefined where none can be had; what it gives is checked. */
  fetchData: (header: BatchHeader) => Promise<Uint8Array | undefined>;
  separator: Uint8Array;
  /** Times of the contracts, in seconds. */
  windows: Omit<Windows, "settling"> & { challenge: number; reveal: number; check: number; collect: number };
  /** Chunks to demand in one round of a batch whose data are withheld. Default 8; 0 for a watcher that pays nothing. */
  demandsPerRound?: number;
  /** Whether lies are proven and batches whose data stay withheld are made to fall. Default true. */
  prove?: boolean;
  /** Whether what is final is replayed as well, though nothing can be done about it any more. Default false. */
  replayFinal?: boolean;
}

/** What a round found out about one batch. */
export interface Finding {
  operator: number;
  height: bigint;
  what: "honest" | "final" | "lie" | "withheld" | "unchecked";
  /** What happened: the rule broken, demands made, the error met. */
  detail: string;
  /** With a lie. */
  verdict?: VerdictName;
}

interface Checked {
  headerHash: Hex;
  /** Kept for the newest ones alone. */
  after: State | undefined;
}

/** States that are kept for one operator: what may fall is pending, and at most 32 batches are. */
const KEPT = 33;

/**
 * Checks every batch of every operator by replaying it, and makes those that lie fall. The newest checked states are kept
 * in memory. A watcher that starts goes on from the newest final state that is published: so an old batch that nobody
 * gives any more does not keep the new ones from being checked.
 */
export class Watcher {
  readonly #options: Required<WatcherOptions>;
  readonly #checked = new Map<number, Checked[]>();
  readonly #proven = new Set<Hex>();

  constructor(options: WatcherOptions) {
    this.#options = { demandsPerRound: 8, prove: true, replayFinal: false, ...options };
  }

  /** One round over all operators. What goes wrong with one is a finding and keeps nobody from watching the others. */
  async round(): Promise<Finding[]> {
    const { chain, registry } = this.#options;
    await chain.settled();
    const findings: Finding[] = [];
    for (const operator of registry.operators()) findings.push(...(await this.#watch(operator)));
    return findings;
  }

  async #watch(operator: number): Promise<Finding[]> {
    const findings: Finding[] = [];
    const batches = this.#options.registry.batches(operator);
    const checked = this.#checked.get(operator) ?? [];
    this.#checked.set(operator, checked);
    // Batches may have fallen, and others stand in their place.
    const standing = checked.findIndex(({ headerHash }, i) => headerHash !== batches[i]?.headerHash);
    if (standing >= 0) checked.length = standing;
    if (checked.length > 0 && !checked.at(-1)!.after) checked.length = 0;
    const skipped = await this.#skipFinal(checked, batches);
    if (skipped) findings.push({ operator, ...skipped });
    for (const batch of batches.slice(checked.length)) {
      const { height } = batch.header;
      try {
        const { finding, after } = await this.#check(batch, checked.at(-1)?.after ?? emptyState(), batches);
        findings.push({ operator, height, ...finding });
        // Nobody can judge what builds on a batch that is wrong or not known.
        if (!after) break;
        checked.push({ headerHash: batch.headerHash, after });
        const old = checked.at(-1 - KEPT);
        if (old) old.after = undefined;
      } catch (error) {
        findings.push({ operator, height, what: "unchecked", detail: (error as Error).message });
        break;
      }
    }
    return findings;
  }

  /** Goes to the newest final snapshot where what comes next is final already. */
  async #skipFinal(checked: Checked[], batches: readonly WatchedBatch[]) {
    const { fetchData, replayFinal } = this.#options;
    if (replayFinal || checked.length >= finalBatches(batches)) return undefined;
    const range = { above: checked.length, upTo: batches.length };
    const snapshot = await newestFinalSnapshot(batches, range, fetchData);
    if (!snapshot) return undefined;
    const { height, state } = snapshot;
    const from = checked.length + 1;
    for (const { headerHash } of batches.slice(checked.length, height)) checked.push({ headerHash, after: undefined });
    checked[height - 1].after = state;
    const detail = `batches ${from} to ${height} are final: their state was taken as it is published`;
    return { height: BigInt(height), what: "final", detail } as const;
  }

  async #check(posted: WatchedBatch, before: State, batches: readonly WatchedBatch[]) {
    const { chain, registry, fetchData, separator, prove } = this.#options;
    const windows = { ...this.#options.windows, settling: settlingTime(this.#options.windows) };
    const { header, headerHash, submittedAt } = posted;
    const { operator, registryTime, height } = header;
    const data = await fetchData(header);
    const batch = (data && openData(header, data)) ?? (await this.#revealedBatch(posted));
    if (!batch) return { finding: await this.#demand(posted) };
    const context = { operator, registryTime, submittedAt, windows, separator, registry };
    const { after, wrong } = replayBatch(before, batch, context);
    if (after) return { after, finding: { what: "honest", detail: `${header.count} receipts` } as const };

    const verdict = verdictName(wrong.step.verdict);
    const finding = { what: "lie", verdict, detail: `receipt ${wrong.index}: ${verdict}` } as const;
    const isSettled = !prove || this.#proven.has(headerHash);
    if (isSettled || !(await chain.isPending(operator, height, headerHash))) return { finding };
    const parent = batches[Number(height) - 2]?.header ?? null;
    await chain.proveFraud(buildFraudProof(batch, parent, wrong, registry));
    // The mirror shows the fall only once it is settled.
    this.#proven.add(headerHash);
    return { finding };
  }

  /** The batch, once all its chunks were revealed. */
  async #revealedBatch({ header, headerHash }: WatchedBatch): Promise<SealedBatch | undefined> {
    const { chain } = this.#options;
    const receipts: SealedBatch["receipts"][number][] = [];
    for (let chunk = 0; chunk < chunkCount(header.count); chunk++) {
      if ((await chain.demandOf(headerHash, chunk)).status !== "revealed") return undefined;
      const revealed = await chain.revealed(headerHash, chunk);
      if (!revealed) return undefined;
      receipts.push(...revealed);
    }
    const tree = buildBatchTree(receiptLeaves(receipts));
    if (!sameBytes(tree.root, header.receiptsRoot)) return undefined;
    return { header, hash: fromHex(headerHash), receipts, tree, data: new Uint8Array() };
  }

  /** Demands what is withheld, and makes the batch fall where a demand was not answered. */
  async #demand({ header, headerHash, submittedAt }: WatchedBatch): Promise<Omit<Finding, "operator" | "height">> {
    const { chain, windows, demandsPerRound, prove } = this.#options;
    const what = "withheld" as const;
    if (this.#proven.has(headerHash) || !(await chain.isPending(header.operator, header.height, headerHash))) {
      return { what, detail: "nothing can be done any more" };
    }
    const now = await chain.time();
    const witness = headerWitness(header);
    let made = 0;
    let waiting = 0;
    for (let chunk = 0; chunk < chunkCount(header.count); chunk++) {
      const { status, deadline } = await chain.demandOf(headerHash, chunk);
      if (prove && status === "open" && now > deadline) {
        await chain.proveWithheld(witness, chunk);
        this.#proven.add(headerHash);
        return { what, detail: `chunk ${chunk} was not revealed in time` };
      }
      if (status === "open") waiting++;
      if (status !== "none" || made >= demandsPerRound || now >= submittedAt + windows.challenge) continue;
      await chain.demandChunk(witness, chunk);
      made++;
    }
    return { what, detail: `${made} chunks demanded, ${waiting} demands open before` };
  }
}
