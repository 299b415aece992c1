import { chunkCount } from "../protocol/batch-tree.ts";
import type { Windows } from "../protocol/bounds.ts";
import { toHex } from "../protocol/bytes.ts";
import { revealWitness } from "../protocol/claims.ts";
import { headerWitness } from "../protocol/fraud-proof.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import { openData } from "../protocol/replay.ts";
import type { ChainPort, ChainStanding } from "./chain-port.ts";
import { SettlementError } from "./errors.ts";
import type { Journal } from "./journal/journal.ts";
import type { LocalSequencer } from "./local-sequencer.ts";
import { payOut } from "./pay-out.ts";
import { publishData } from "./publication.ts";

export interface SettlerOptions {
  journal: Journal;
  sequencer: LocalSequencer;
  chain: ChainPort;
  /** Where the batches' data are published. */
  directory: string;
  /** Times of the contracts, in seconds. */
  windows: Windows & { challenge: number; check: number };
  /** Receipts that close a batch. */
  batchReceipts: number;
  /** Seconds after its first receipt that close a batch. */
  batchSeconds: number;
  /** Wei for a unit of gas above which posting waits; without it, it never does. */
  maxGasPrice?: bigint;
  /** Seconds after its first receipt from which a batch is posted at any price. Default: half the time to post. */
  patience?: number;
  /** Seconds that something may wait to be posted before the alarm. Default 3 hours. */
  alarmAfter?: number;
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
  /** Something has waited too long, whether or not anything said so. */
  alarm: boolean;
}

/** Batches that the contract lets wait to become final. */
const MAX_PENDING = 32n;
/** Seconds that a transaction may take to be mined: what is posted later than P after an expiry costs the bond. */
const POSTING_MARGIN = 900;

/**
 * Takes an operator's receipts to the chain and the money to those who earned it. All that it does follows from the
 * journal and from what the chain says, so that a round may be cut short anywhere and the next one goes on.
 */
export class Settler {
  readonly #options: Required<Omit<SettlerOptions, "maxGasPrice">> & Pick<SettlerOptions, "maxGasPrice">;
  #lastSuccess: number | undefined;
  #lastError: string | undefined;
  #tip = 0n;
  /** Up to where everyone is paid, as far as this process knows. */
  #paidHeight = 0n;

  constructor(options: SettlerOptions) {
    this.#options = {
      patience: options.windows.posting / 2,
      alarmAfter: 3 * 3_600,
      clock: () => Math.floor(Date.now() / 1_000),
      ...options,
    };
  }

  health(): SettlementHealth {
    const unpostedSince = this.#unpostedSince();
    const { clock, alarmAfter } = this.#options;
    const alarm = unpostedSince !== undefined && clock() - unpostedSince > alarmAfter;
    return { lastSuccess: this.#lastSuccess, lastError: this.#lastError, unpostedSince, alarm };
  }

  /**
   * One round: closes the open batch when it is due, publishes, answers demands, posts, finalises, and pays out what
   * has become final.
   *
   * @param force Closes and posts whatever there is, at any price.
   * @throws {SettlementError} `batchFell` when a batch of this journal does not stand any more, `tooLate`
   * when posting what is left would be punished.
   */
  async round({ force = false } = {}): Promise<void> {
    const { chain, journal } = this.#options;
    try {
      // What was sent and is unknown decides what is to be done.
      await chain.settled();
      if (force || this.#isDue()) await this.#options.sequencer.seal();
      const standing = await chain.standing(journal.operator);
      const headers = this.#sealedHeaders();
      await this.#checkTip(standing, headers);
      await this.#answerDemands(standing, headers);
      this.#tip = await this.#post(standing, headers, force);
      const final = await this.#finalise({ ...standing, tip: this.#tip });
      if (final > this.#paidHeight) {
        const header = headers[Number(final) - 1];
        await payOut(chain, header, this.#options.sequencer.stateAfter(Number(header.sequence)));
        this.#paidHeight = final;
      }
      this.#lastSuccess = this.#options.clock();
      this.#lastError = undefined;
    } catch (error) {
      this.#lastError = (error as Error).message;
      throw error;
    }
  }

  #isDue(): boolean {
    const { sequencer, batchReceipts, batchSeconds, clock } = this.#options;
    const since = sequencer.openSince;
    return since !== undefined && (sequencer.openReceipts >= batchReceipts || clock() - since >= batchSeconds);
  }

  /** By height, from 1 on. */
  #sealedHeaders(): BatchHeader[] {
    return this.#options.journal.batches().flatMap(({ header }) => (header ? [header] : []));
  }

  #unpostedSince(): number | undefined {
    const { journal, sequencer } = this.#options;
    const header = this.#sealedHeaders().at(Number(this.#tip));
    return header ? journal.receiptsOfBatch(Number(header.sequence))[0].completedAt : sequencer.openSince;
  }

  /** A batch that fell, or was posted by somebody with another journal, is not for this program to mend. */
  async #checkTip({ tip }: ChainStanding, headers: readonly BatchHeader[]): Promise<void> {
    const { chain, journal } = this.#options;
    const fell = (height: bigint) =>
      new SettlementError("batchFell", `The chain does not hold batch ${height} of this journal.`, {
        height: String(height),
      });
    if (tip < this.#tip) throw fell(tip + 1n);
    if (tip === 0n) return;
    const header = headers.at(Number(tip) - 1);
    const { headerHash: posted } = await chain.batchAt(journal.operator, tip);
    if (!header || posted !== toHex(headerHash(header))) throw fell(tip);
  }

  async #answerDemands(standing: ChainStanding, headers: readonly BatchHeader[]): Promise<void> {
    const { chain, journal } = this.#options;
    for (let height = standing.finalHeight + 1n; height <= standing.tip; height++) {
      const { openDemands, headerHash: posted } = await chain.batchAt(journal.operator, height);
      if (openDemands === 0) continue;
      const header = headers[Number(height) - 1];
      const batch = openData(header, journal.published(header.dataHash)!)!;
      for (let chunk = 0; chunk < chunkCount(header.count); chunk++) {
        if (!(await chain.isDemanded(posted, chunk))) continue;
        await chain.revealChunk(headerWitness(header), chunk, revealWitness(batch, chunk));
      }
    }
  }

  /** @returns Height of the newest batch on the chain. */
  async #post({ tip, finalHeight }: ChainStanding, headers: readonly BatchHeader[], force: boolean): Promise<bigint> {
    const { chain, journal, directory } = this.#options;
    let height = tip;
    for (const header of headers.slice(Number(tip))) {
      await publishData(directory, header.dataHash, journal.published(header.dataHash)!);
      const mayWait = header.height - finalHeight > MAX_PENDING || !(await this.#mayPost(header, force));
      if (mayWait) break;
      await chain.submitBatch(headerWitness(header));
      height = header.height;
    }
    return height;
  }

  async #mayPost(header: BatchHeader, force: boolean): Promise<boolean> {
    const { chain, journal, windows, maxGasPrice, patience, clock } = this.#options;
    const receipts = journal.receiptsOfBatch(Number(header.sequence));
    const expiries = receipts.map(({ body }) => Number(decodeReceipt(body).voucher.expiry));
    const [earliest, latest] = [Math.min(...expiries), Math.max(...expiries)];
    const now = await chain.time();
    if (now + POSTING_MARGIN > earliest + windows.posting) {
      const details = { height: String(header.height) };
      const message = `Batch ${header.height} was not posted before a voucher in it ran out: posted now, it is a lie.`;
      throw new SettlementError("tooLate", message, details);
    }
    // A voucher whose life looks too long to a chain whose clock is behind ours would make an honest receipt a lie.
    if (latest > now + windows.voucherLife) return false;
    if (force || maxGasPrice === undefined || clock() - receipts[0].completedAt >= patience) return true;
    return (await chain.gasPrice()) <= maxGasPrice;
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
