import { type Hex, toHex } from "../protocol/bytes.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import { openData } from "../protocol/replay.ts";
import { voucherDigest } from "../protocol/voucher.ts";
import { type Inclusion, includedAt } from "./inclusion.ts";

/** Times that a batch's data are asked for, as long as nobody gives them. */
const TRIES = 3;

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

/** Where a job's receipt stands in an operator's batches, and its bytes there. */
export interface PostedJob {
  inclusion: Inclusion;
  body: Uint8Array;
}

/**
 * Finds in published batches where the jobs of some channels stand. Nobody is asked about a job: an operator does not
 * learn which of them are looked for. Each batch is read once.
 */
export class PostedJobs {
  readonly #options: PostedJobsOptions;
  /** By header hash: the index of each job of a channel. */
  readonly #known = new Map<Hex, Map<Hex, number>>();
  readonly #failed = new Map<Hex, number>();

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
  async place(jobId: Hex, channel: number, header: BatchHeader, headerHash: Hex): Promise<PostedJob | undefined> {
    const index = (await this.#jobsIn(header, headerHash, channel)).get(jobId);
    const batch = index === undefined ? undefined : await this.#read(header);
    const inclusion = batch && includedAt(batch, index!);
    return inclusion && { inclusion, body: batch.receipts[index!]!.body };
  }

  async #jobsIn(header: BatchHeader, headerHash: Hex, channel: number): Promise<ReadonlyMap<Hex, number>> {
    const key: Hex = `${headerHash}${channel}`;
    const known = this.#known.get(key);
    if (known) return known;
    const failures = this.#failed.get(headerHash) ?? 0;
    const batch = failures < TRIES ? await this.#read(header) : undefined;
    const jobs = new Map<Hex, number>();
    if (!batch) {
      this.#failed.set(headerHash, failures + 1);
      return jobs;
    }
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
