import type { Engine } from "../engine/engine.ts";
import { type JobVerdict, PaidJobs, type UnexaminedJob } from "../payments/payer/paid-jobs.ts";
import { type Hex, sameBytes, toHex } from "../protocol/bytes.ts";
import type { Json } from "../protocol/canonical-json.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { keccak } from "../protocol/keccak.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import { saltedHash } from "../protocol/salted-hash.ts";
import type { VoucherDomain } from "../protocol/voucher.ts";
import type { VerifyJobOptions } from "../serving/verify-job.ts";
import { draw } from "./draw.ts";
import { writeEvidence } from "./evidence-file.ts";
import { type Examination, type ExaminedJob, examineJob } from "./examine-job.ts";
import { PostedJobs, type PostedJobsOptions } from "./posted-jobs.ts";
import { hashedBytes, type ShownJob } from "./shown-job.ts";

/** An engine that runs the base model in exact mode, for one round. */
export interface AuditEngine extends Engine {
  close(): Promise<void>;
}

export interface AuditorOptions extends Omit<PostedJobsOptions, "chain">, Omit<VerifyJobOptions, "model" | "engine"> {
  /** Files of payers' ledgers; asked at each round, for channels come and go. */
  ledgers: () => readonly string[];
  domain: VoucherDomain;
  /** Folder of the base model, and its hash: jobs of agents with another one are left alone. */
  model: string;
  modelHash: Hex;
  /** Jobs that a round does again at most. */
  sample: number;
  /** Seconds: jobs paid for earlier are left alone, for operators need not keep traces for ever. */
  maxAge: number;
  /** Starts an engine; it is closed when the round ends. */
  openEngine: () => Promise<AuditEngine>;
  /** Asks an operator for a job, with its salt. */
  showJob: (operator: number, jobId: Hex, salt: Hex) => Promise<ShownJob>;
  /** Folder for what shows a wrong measurement to others. */
  evidence: string;
  /** Seconds since 1970. Default: the system's. */
  clock?: () => number;
}

/** What a round found out about one job. */
export interface JobFinding {
  operator: number;
  height: bigint;
  job: Hex;
  /** `misattributed`: it is not what registries, chain and model say. `unchecked`: it could not be done again. */
  what: JobVerdict;
  detail: string;
  /** With `misattributed`: the file that shows it. */
  evidence?: string;
}

/** A paid job that stands in a posted batch. */
interface Candidate {
  job: UnexaminedJob;
  paid: PaidJobs;
  header: BatchHeader;
}

/**
 * Does a random sample of the jobs again that were paid for from here: what the chain cannot prove of an operator. A job
 * is drawn once its batch is posted, when receipt and trace cannot be changed any more, and only then asked for.
 */
export class Auditor {
  readonly #options: AuditorOptions;
  readonly #posted: PostedJobs;
  readonly #clock: () => number;

  constructor(options: AuditorOptions) {
    this.#options = options;
    this.#posted = new PostedJobs({ ...options, chain: options.mirror });
    this.#clock = options.clock ?? (() => Math.floor(Date.now() / 1_000));
  }

  /**
   * Draws and does again. What could not be done is a finding, and is tried in later rounds, three times in all.
   *
   * @throws {PaymentError} `foreignLedger` for a file that is no ledger of this chain.
   * @throws Whatever starting the engine throws.
   */
  async round(): Promise<JobFinding[]> {
    const { ledgers, domain, sample, openEngine, signal } = this.#options;
    const opened: PaidJobs[] = [];
    let engine: AuditEngine | undefined;
    try {
      for (const file of ledgers()) opened.push(new PaidJobs(file, domain));
      const candidates: Candidate[] = [];
      for (const paid of opened) candidates.push(...(await this.#candidates(paid)));
      const drawn = draw(candidates, sample);
      const findings: JobFinding[] = [];
      for (const candidate of drawn) {
        signal?.throwIfAborted();
        engine ??= await openEngine();
        findings.push(await this.#examine(candidate, engine));
      }
      return findings;
    } finally {
      await engine?.close();
      for (const paid of opened) paid.close();
    }
  }

  async #candidates(paid: PaidJobs): Promise<Candidate[]> {
    const { mirror, maxAge, modelHash } = this.#options;
    const operator = mirror.channel(paid.channel)?.operator;
    const jobs = paid.unexamined(this.#clock() - maxAge).filter(({ voucher: { agent, version } }) => {
      const composition = mirror.composition(agent, version);
      return composition !== undefined && toHex(composition.baseModel) === modelHash;
    });
    if (operator === undefined || jobs.length === 0) return [];
    const since = Math.min(...jobs.map(({ signedAt }) => signedAt));
    const posted = await this.#posted.of(operator, paid.channel, since - CLOCKS_APART);
    return jobs.flatMap((job) => {
      const header = posted.get(job.jobId);
      return header ? [{ job, paid, header }] : [];
    });
  }

  async #examine({ job: { jobId }, paid, header }: Candidate, engine: AuditEngine): Promise<JobFinding> {
    const { evidence, domain, signal } = this.#options;
    const { operator, height } = header;
    const at = this.#clock();
    const finding = { operator, height, job: jobId };
    try {
      const job = await this.#gather(jobId, paid, header);
      const found = await examineJob(job, { ...this.#options, engine });
      const detail = sentence(found);
      const file =
        found.verdict === "misattributed" ? { evidence: writeEvidence(evidence, job, { domain, found, at }) } : {};
      paid.note(jobId, { verdict: found.verdict, detail, at });
      return { ...finding, what: found.verdict, detail, ...file };
    } catch (error) {
      if (signal?.aborted) throw error;
      const detail = (error as Error).message;
      paid.note(jobId, { verdict: "unchecked", detail, at });
      return { ...finding, what: "unchecked", detail };
    }
  }

  /**
   * What is there of a job. Of what its operator shows, only that is taken which the receipt commits to: an answer to
   * this question from the network that is something else shows nothing about the receipt.
   *
   * @throws Error that says what cannot be had.
   */
  async #gather(jobId: Hex, paid: PaidJobs, header: BatchHeader) {
    const { channel } = paid;
    const place = await this.#posted.place(jobId, channel, header, toHex(headerHash(header)));
    if (!place) throw new Error("the data of its batch cannot be had any more");
    const { receipt, salt, ...kept } = paid.job(jobId);
    const { traceHash, voucher, responseHash } = decodeReceipt(receipt);
    const shown = await this.#options.showJob(header.operator, jobId, toHex(salt));
    if (shown.trace === undefined) throw new Error("its operator does not show the trace");
    const trace = hashedBytes(shown.trace);
    if (!sameBytes(keccak(trace), traceHash)) {
      throw new Error("its operator shows another trace than the one that the receipt stands for");
    }
    const committed = (value: Json | undefined, hash: Uint8Array) => {
      const bytes = value === undefined ? undefined : hashedBytes(value);
      return bytes && sameBytes(saltedHash(salt, bytes), hash) ? bytes : undefined;
    };
    const request = kept.request ?? committed(shown.request, voucher.requestHash);
    const response = kept.response ?? committed(shown.answer, responseHash);
    return {
      ...{ jobId, receipt, salt, trace, place },
      completedAt: shown.receipt?.completed ?? header.registryTime,
      ...(request && { request }),
      ...(response && { response }),
    } satisfies ExaminedJob;
  }
}

/** Seconds that this machine's clock may be ahead of the chain's. */
const CLOCKS_APART = 900;

function sentence({ verdict, problems, unchecked, checked }: Examination): string {
  if (verdict === "misattributed") return problems.join(" ");
  return verdict === "unchecked" ? unchecked.join("; ") : `done again: ${checked.join(", ")}`;
}
