import { chunkCount } from "../protocol/batch-tree.ts";
import type { Windows } from "../protocol/bounds.ts";
import { toHex } from "../protocol/bytes.ts";
import { revealWitness } from "../protocol/claims.ts";
import { headerWitness } from "../protocol/fraud-proof.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { openData } from "../protocol/replay.ts";
import type { ChainPort, ChainStanding } from "./chain-port.ts";
import { SettlementError } from "./errors.ts";
import { causeOfFall } from "./fall-cause.ts";
import type { Journal } from "./journal/journal.ts";
import type { LocalSequencer } from "./local-sequencer.ts";
import { OldJobs } from "./old-jobs.ts";
import { payOut, type Unpaid } from "./pay-out.ts";
import {
  channelsOf,
  earliestExpiry,
  isLate,
  isUrgent,
  isWorthItsGas,
  judgePosting,
  MAX_PENDING,
  postingMargin,
  scarcePause,
} from "./posting-rules.ts";
import { publishData } from "./publication.ts";
import type { Fall, Rebuilt } from "./rebuild-books.ts";

export interface SettlerOptions {
  journal: Journal;
  sequencer: LocalSequencer;
  chain: ChainPort;
  /** Where the batches' data are published. */
  directory: string;
  /** Times of the contracts, in seconds. */
  windows: Omit<Windows, "settling"> & { challenge: number; check: number };
  /** Receipts that close a batch. */
  batchReceipts: number;
  /** Seconds after its first receipt that close a batch. */
  batchSeconds: number;
  /** Wei for a unit of gas above which posting waits; without it, it never does. */
  maxGasPrice?: bigint;
  /** Wei of the chain's coin that one OPEN is worth: batches wait until they earn what they cost. */
  coinPerOpen?: bigint;
  /** Seconds after its first receipt from which a batch is posted at any price. Default: half the time to post. */
  patience?: number;
  /** Seconds that something may wait to be posted before the alarm. Default 3 hours. */
  alarmAfter?: number;
  /** Seconds after which requests, answers and traces of final batches are emptied; without it, they stay. */
  keepAnswersFor?: number;
  /** Seconds after which a job that failed is forgotten. Default a day, and never before its voucher has run out. */
  keepFailedFor?: number;
  /** Told when batches were built anew. */
  onRebuilt?: (reason: string, rebuilt: Rebuilt) => void;
  /** Told which contributors could not be paid; they are tried again with the next batch that becomes final. */
  onUnpaid?: (unpaid: readonly Unpaid[]) => void;
  /** Seconds since 1970. */
  clock?: () => number;
}

/** How settling goes. Times are seconds since 1970. */
export interface SettlementHealth {
  /** End of the last round in which nothing failed. */
  lastSuccess: number | undefined;
  /** What the last round failed with. */
  lastError: string | undefined;
  /** When the oldest receipt came that is not on the chain. */
  unpostedSince: number | undefined;
  /** Sealed batches that fell or came too late, and receipts that were taken out of the books for good. */
  losses: { batches: number; receipts: number };
  /** Something has waited too long, whether or not anything said so. */
  alarm: boolean;
}

type Optional = "maxGasPrice" | "coinPerOpen" | "keepAnswersFor" | "onRebuilt" | "onUnpaid";

const DAY = 86_400;

/**
 * Takes an operator's receipts to the chain and the money to those who earned it. All that it does follows from the
 * journal and from what the chain says, so that a round may be cut short anywhere and the next one goes on.
 */
export class Settler {
  readonly #options: Required<Omit<SettlerOptions, Optional>> & Pick<SettlerOptions, Optional>;
  readonly #oldJobs: OldJobs;
  #lastSuccess: number | undefined;
  #lastError: string | undefined;
  #tip: bigint | undefined;
  /** Up to where everyone is paid, as far as this process knows. */
  #paidHeight = 0n;
  /** Closed batches that stand in the journal, as far as they were read. */
  #sealed: BatchHeader[] = [];
  /** Whether this process has seen to it that all data are published. */
  #isPublished = false;

  constructor(options: SettlerOptions) {
    this.#options = {
      patience: options.windows.posting / 2,
      alarmAfter: 3 * 3_600,
      clock: () => Math.floor(Date.now() / 1_000),
      ...options,
      keepFailedFor: Math.max(options.keepFailedFor ?? DAY, options.windows.voucherLife),
    };
    this.#oldJobs = new OldJobs(this.#options);
  }

  health(): SettlementHealth {
    const unpostedSince = this.#unpostedSince();
    const { clock, alarmAfter, journal } = this.#options;
    const alarm = unpostedSince !== undefined && clock() - unpostedSince > alarmAfter;
    const losses = journal.losses();
    return { lastSuccess: this.#lastSuccess, lastError: this.#lastError, unpostedSince, losses, alarm };
  }

  /**
   * One round: answers demands, builds anew what fell, closes the open batch when it is due, publishes, posts,
   * finalises, and pays out what has become final.
   *
   * @param force Closes and posts whatever there is, at any price.
   * @throws {SettlementError} `foreignBatch` when the chain holds a batch that is not of this journal, `batchDisputed`
   * when a batch fell that this program must have written wrongly, `clocksDisagree` when only the chain says that it is
   * too late to post. None of them mends itself. `fallUnexplained` and `registryStale` do, with the chain's endpoint.
   */
  async round({ force = false } = {}): Promise<void> {
    const { chain, journal, clock } = this.#options;
    try {
      // What was sent and is unknown decides what is to be done.
      await chain.settled();
      const standing = await chain.standing(journal.operator);
      await this.#checkTip(standing);
      // Before anything that the disk could refuse: an answer that is late costs the bond.
      await this.#answerDemands(standing);
      await this.#publishAll();
      if (await this.#mendFall(standing)) {
        if (force || (await this.#isDue(standing.finalHeight))) await this.#options.sequencer.seal();
        this.#tip = await this.#post(standing, force);
      }
      const final = await this.#finalise({ ...standing, tip: this.#tip ?? standing.tip });
      if (final > this.#paidHeight) {
        const header = this.#sealedHeaders()[Number(final) - 1];
        const unpaid = await payOut(chain, header, this.#options.sequencer.stateAfter(Number(header.sequence)));
        if (unpaid.length > 0) this.#options.onUnpaid?.(unpaid);
        this.#paidHeight = final;
      }
      if (final > 0n) this.#oldJobs.emptyAnswers(clock(), Number(this.#sealedHeaders()[Number(final) - 1].sequence));
      this.#lastSuccess = clock();
      this.#lastError = undefined;
    } catch (error) {
      this.#lastError = (error as Error).message;
      throw error;
    } finally {
      // Not for a chain that is away to hold up.
      this.#forgetFailed();
    }
  }

  #forgetFailed(): void {
    try {
      this.#oldJobs.forgetFailed(this.#options.clock());
    } catch (error) {
      this.#lastError ??= (error as Error).message;
    }
  }

  async #isDue(finalHeight: bigint): Promise<boolean> {
    const { sequencer, chain, batchReceipts, coinPerOpen, patience, ...rest } = this.#options;
    const since = sequencer.openSince;
    if (since === undefined) return false;
    const { posting, challenge } = rest.windows;
    const headers = this.#sealedHeaders();
    const places = MAX_PENDING - (headers.length - Number(finalHeight));
    // A batch that cannot be posted is better left open.
    if (places <= 0) return false;
    const isScarce = places <= MAX_PENDING / 2;
    if (!isScarce && sequencer.openReceipts >= batchReceipts) return true;
    const age = await this.#secondsSince(since);
    if (age < rest.batchSeconds) return false;
    const below = headers.at(-1);
    const open = this.#options.journal.receiptsAbove(Number(below?.sequence ?? 0n));
    if (isUrgent(await chain.time(), earliestExpiry(open), posting)) return true;
    if (isScarce && age < scarcePause(challenge)) return false;
    if (coinPerOpen === undefined || age >= patience) return true;
    const earned = sequencer.state.operatorEarned - (below?.state.operatorEarned ?? 0n);
    return isWorthItsGas(earned, channelsOf(open), await chain.gasPrice(), coinPerOpen);
  }

  /** A clock behind the chain's is not believed; after one that was set back nobody knows, and has waited enough. */
  async #secondsSince(time: number): Promise<number> {
    const { clock, chain } = this.#options;
    const now = clock() >= time ? clock() : await chain.time();
    return now >= time ? now - time : Number.POSITIVE_INFINITY;
  }

  /** By height, from 1 on. */
  #sealedHeaders(): BatchHeader[] {
    const last = Number(this.#sealed.at(-1)?.sequence ?? 0n);
    for (const { header } of this.#options.journal.batches(last)) if (header) this.#sealed.push(header);
    return this.#sealed;
  }

  #unpostedSince(): number | undefined {
    const { journal, sequencer } = this.#options;
    // Before the first round nobody knows what is posted.
    const header = this.#tip === undefined ? undefined : this.#sealedHeaders().at(Number(this.#tip));
    return header ? journal.receiptsOfBatch(Number(header.sequence))[0].completedAt : sequencer.openSince;
  }

  /** A batch that was posted by somebody with another journal is not for this program to mend. */
  async #checkTip({ tip }: ChainStanding): Promise<void> {
    const { chain, journal } = this.#options;
    if (tip === 0n) return;
    const header = this.#sealedHeaders().at(Number(tip) - 1);
    const { headerHash: posted } = await chain.batchAt(journal.operator, tip);
    if (header && posted === toHex(headerHash(header))) return;
    const details = { height: String(tip) };
    throw new SettlementError("foreignBatch", `Batch ${tip} on the chain is not of this journal.`, details);
  }

  /**
   * Builds anew what stood above a batch that fell, without the receipts that were proven to be lies.
   *
   * @returns Whether posting may go on: a fall that the chain could still undo is waited for.
   */
  async #mendFall({ tip, sequence }: ChainStanding): Promise<boolean> {
    const { chain, journal } = this.#options;
    const headers = this.#sealedHeaders();
    // What has a sequence number that the chain has seen was posted.
    const fallen = headers.slice(Number(tip)).filter((header) => header.sequence <= sequence);
    if (fallen.length === 0) return true;
    this.#tip = tip;
    const settled = await chain.standing(journal.operator, true);
    if (settled.tip !== tip || settled.sequence !== sequence) return false;

    const { lies, reason } = await causeOfFall(chain, fallen);
    await this.#rebuild(headers, tip, lies, reason);
    return true;
  }

  async #rebuild(headers: readonly BatchHeader[], tip: bigint, lies: Fall["lies"], reason: string): Promise<void> {
    const { sequencer, chain, windows, onRebuilt } = this.#options;
    const parent = tip === 0n ? null : headers[Number(tip) - 1];
    const postedBy = (await chain.time()) + postingMargin(windows.posting);
    const above = Number(parent?.sequence ?? 0n);
    const rebuilt = await sequencer.rebuildAbove({ above, parent, lies, postedBy, reason });
    this.#sealed = [];
    // What fell has waited long enough.
    await sequencer.seal();
    onRebuilt?.(reason, rebuilt);
  }

  /** Once: somebody may have lost the folder. */
  async #publishAll(): Promise<void> {
    if (this.#isPublished) return;
    const { journal, directory } = this.#options;
    for (const { dataHash } of this.#sealedHeaders()) {
      await publishData(directory, dataHash, journal.published(dataHash)!);
    }
    this.#isPublished = true;
  }

  async #answerDemands(standing: ChainStanding): Promise<void> {
    const { chain, journal } = this.#options;
    const headers = this.#sealedHeaders();
    for (let height = standing.finalHeight + 1n; height <= standing.tip; height++) {
      const { openDemands, headerHash: posted } = await chain.batchAt(journal.operator, height);
      if (openDemands === 0) continue;
      const header = headers[Number(height) - 1];
      const batch = openData(header, journal.published(header.dataHash)!)!;
      for (let chunk = 0; chunk < chunkCount(header.count); chunk++) {
        if ((await chain.demandStatus(posted, chunk)) !== "open") continue;
        await chain.revealChunk(headerWitness(header), chunk, revealWitness(batch, chunk));
      }
    }
  }

  /** @returns Height of the newest batch on the chain. */
  async #post({ tip, finalHeight }: ChainStanding, force: boolean): Promise<bigint> {
    const { chain, journal, directory, windows, clock } = this.#options;
    let height = tip;
    for (;;) {
      const headers = this.#sealedHeaders();
      const header = headers.at(Number(height));
      if (!header || header.height - finalHeight > BigInt(MAX_PENDING)) return height;
      await publishData(directory, header.dataHash, journal.published(header.dataHash)!);
      const receipts = journal.receiptsOfBatch(Number(header.sequence));
      const earnedBelow = height === 0n ? 0n : headers[Number(height) - 1].state.operatorEarned;
      const facts = { header, earnedBelow, receipts, now: await chain.time(), localNow: clock() };
      const { maxGasPrice, coinPerOpen, patience } = this.#options;
      const terms = force ? { ...windows, patience } : { ...windows, maxGasPrice, coinPerOpen, patience };
      const verdict = await judgePosting(facts, terms, () => chain.gasPrice());
      if (verdict === "post") {
        await chain.submitBatch(headerWitness(header));
        height = header.height;
        continue;
      }
      if (verdict === "stale") {
        this.#checkView(header);
        await this.#rebuild(headers, height, [], "its view of the registries was too old to be posted");
      } else if (verdict === "late") {
        this.#checkClocks(header);
        // What is late is lost; what came with it is not.
        await this.#rebuild(headers, height, [], "a receipt in it came too late to be posted");
      } else return height;
    }
  }

  /** Built anew with the same view, it would be as old. */
  #checkView({ height, registryTime }: BatchHeader): void {
    if (this.#options.sequencer.newestView > registryTime) return;
    const message = `Batch ${height} sees the registries as they were too long ago, and nothing newer has been read.`;
    throw new SettlementError("registryStale", message, { height: String(height) });
  }

  /** Money is given up only when two clocks say that it has to be. */
  #checkClocks(header: BatchHeader): void {
    const { journal, windows, clock } = this.#options;
    const earliest = earliestExpiry(journal.receiptsOfBatch(Number(header.sequence)));
    if (isLate(clock(), earliest, windows.posting)) return;
    const message = `By the chain's clock batch ${header.height} is too late to be posted, by this machine's it is not.`;
    throw new SettlementError("clocksDisagree", message, { height: String(header.height) });
  }

  /** @returns Height of the newest final batch. */
  async #finalise({ tip, finalHeight }: ChainStanding): Promise<bigint> {
    const { chain, journal, windows } = this.#options;
    const now = await chain.time();
    let ripe = finalHeight;
    for (let height = finalHeight + 1n; height <= tip; height++) {
      const { submittedAt, demandDeadline, openDemands } = await chain.batchAt(journal.operator, height);
      const checked = demandDeadline === 0 ? 0 : demandDeadline + windows.check;
      if (openDemands > 0 || now <= Math.max(submittedAt + windows.challenge, checked)) break;
      ripe = height;
    }
    if (ripe > finalHeight) await chain.finalize(journal.operator, ripe);
    return ripe;
  }
}
