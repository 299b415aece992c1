import { type Hex, toHex } from "../protocol/bytes.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import { openData } from "../protocol/replay.ts";
import { voucherDigest } from "../protocol/voucher.ts";
import { type Inclusion, includedAt } from "./inclusion.ts";

/** Rounds in which a batch is passed over at most whose data nobody has given, so that many of those do not hold a round up. */
const LONGEST_PAUSE = 64;

interface PostedBatch {
  header: BatchHeader;
  headerHash: Hex;
  /** Seconds since 1970. */
  submittedAt: number;
}

export interface PostedJobsOptions {
  chain: { batches(operator: number): readonly PostedBatch[] };
  /** What was published for a header; undefined where nobody gives it. */
  fetchData: (header: BatchHeader) => Promise<Uint8Array | undefined>;
  separator: Uint8Array;
}

/**
 * Finds in published batches where the jobs of some channels stand. Nobody is asked about a job: an operator does not
 * learn which of them are looked for. Each batch is read once.
 */
export class PostedJobs {
  readonly #options: PostedJobsOptions;
  /** By header hash: the index of each job of a channel. */
  readonly #known = new Map<Hex, Map<Hex, number>>();
  /** By header hash: rounds until its data are asked for again, and how many there were before that. */
  readonly #failed = new Map<Hex, { left: number; pause: number }>();

  constructor(options: PostedJobsOptions) {
    this.#options = options;
  }

  /**
   * The jobs of a channel that are in batches which stand now.
   *
   * @param since Seconds since 1970: batches posted earlier are left out.
   * @returns By job id, in which batch.
   */
  async of(operator: number, channel: number, since: number): Promise<Map<Hex, BatchHeader>> {
    const found = new Map<Hex, BatchHeader>();
    for (const { header, headerHash, submittedAt } of this.#options.chain.batches(operator)) {
      if (submittedAt < since) continue;
      for (const jobId of (await this.#jobsIn(header, headerHash, channel)).keys()) found.set(jobId, header);
    }
    return found;
  }

  /** Undefined where the batch's data cannot be had any more. */
  async place(jobId: Hex, channel: number, header: BatchHeader, headerHash: Hex): Promise<Inclusion | undefined> {
    const index = (await this.#jobsIn(header, headerHash, channel)).get(jobId);
    const batch = index === undefined ? undefined : await this.#read(header);
    return batch && includedAt(batch, index!);
  }

  async #jobsIn(header: BatchHeader, headerHash: Hex, channel: number): Promise<ReadonlyMap<Hex, number>> {
    const key: Hex = `${headerHash}${channel}`;
    const known = this.#known.get(key);
    if (known) return known;
    const jobs = new Map<Hex, number>();
    const failed = this.#failed.get(headerHash);
    if (failed && failed.left > 0) {
      failed.left--;
      return jobs;
    }
    const batch = await this.#read(header);
    if (!batch) {
      const pause = Math.min(LONGEST_PAUSE, failed ? failed.pause * 2 : 1);
      this.#failed.set(headerHash, { left: pause, pause });
      return jobs;
    }
    this.#failed.delete(headerHash);
    for (const [index, receipt] of batch.receipts.entries()) {
      const voucher = receipt && voucherIn(receipt.body);
      if (voucher?.channel === channel) jobs.set(toHex(voucherDigest(this.#options.separator, voucher)), index);
    }
    this.#known.set(key, jobs);
    return jobs;
  }

  async #read(header: BatchHeader) {
    const data = await this.#options.fetchData(header);
    return data && openData(header, data);
  }
}

/** Of bytes that are no receipt, replaying speaks. */
function voucherIn(body: Uint8Array) {
  try {
    return decodeReceipt(body).voucher;
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}
