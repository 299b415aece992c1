import { admit as admission, completeJob, failJob, reservedOf } from "../protocol/admission.ts";
import { appendReceipt, openBatch, type SealedBatch, sealBatch } from "../protocol/batch.ts";
import { MAX_RECEIPTS_PER_BATCH, type Windows } from "../protocol/bounds.ts";
import { fromHex, type Hex, sameBytes, toHex } from "../protocol/bytes.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import type { Receipt } from "../protocol/receipt.ts";
import type { ChannelInfo, RegistryView } from "../protocol/registry-view.ts";
import { saltedHash } from "../protocol/salted-hash.ts";
import type { State } from "../protocol/state.ts";
import type { StepContext } from "../protocol/step.ts";
import { VERDICT, verdictName } from "../protocol/verdict.ts";
import { type SignedVoucher, voucherDigest } from "../protocol/voucher.ts";
import type { Books, OpenBooks } from "./books.ts";
import { CommitGroup } from "./commit-group.ts";
import { AdmissionError, JobError, SettlementError } from "./errors.ts";
import type { JobTerms, Journal } from "./journal/journal.ts";
import { standsLater } from "./later-view.ts";
import { checkHashes, receiptOf } from "./outcome.ts";
import { type Fall, type Rebuilt, rebuildBooks } from "./rebuild-books.ts";
import { signerRecovery } from "./recovery/signer-recovery.ts";
import { encodeState, type RestoreContext, restoreBooks, stateAfterBatch } from "./restore-books.ts";
import type {
  AdmittedJob,
  ChannelStatement,
  JobRecord,
  Outcome,
  PaidRequest,
  ReceiptRecord,
  Sequencer,
} from "./sequencer.ts";

/** What the sequencer asks of the registries beyond the protocol's rules. */
export interface SequencerRegistry extends RegistryView {
  /** `thawing`: what the payer has announced to withdraw, in wei of OPEN. */
  channel(id: number): (ChannelInfo & { thawing: bigint }) | undefined;
  /** The newest block that the view knows; its time is the newest B. Undefined before anything was read. */
  head(): { time: number } | undefined;
}

export interface SequencerOptions {
  journal: Journal;
  registry: SequencerRegistry;
  windows: Windows;
  /** Seconds since 1970. Default: the system's. */
  clock?: () => number;
  /**
   * Seconds from a receipt to the posting of its batch at the latest: later, a voucher could have run out. Default an
   * hour, and a quarter of the time to post where that is less.
   */
  postingDelay?: number;
  /** Receipts after which a batch is sealed by itself. */
  maxReceipts?: number;
  /** Receipts after which the state is kept with a sealed batch. Default 2,000, about a second's work to replay. */
  snapshotAfter?: number;
  /**
   * Bytes that the requests of jobs that failed may take in the journal, the oldest making room: they cost their payers
   * nothing. Each counts for 4 KiB at least. Default 256 MiB.
   */
  failedRequestBytes?: number;
}

const HOUR = 3_600;
/** Receipts in one statement of a channel: those that a payer can have unresolved. */
const STATEMENT = 256;
/** Jobs read at a time when the queue is filled again. */
const PAGE = 64;

/**
 * The sequencer in this process. There is one for each operator, since there is one writer to its journal.
 *
 * Every write goes through one group commit, in the order of the calls; a group is worked through without a pause, so
 * that what is read here is always on the disk.
 */
export class LocalSequencer implements Sequencer {
  readonly #options: Required<SequencerOptions>;
  readonly #journal: Journal;
  readonly #books: Books;
  readonly #group: CommitGroup;

  /**
   * @throws {JournalError} `corrupt` when the journal does not lead to the states that it names.
   * @throws {SettlementError} `registryNotReady` when the registries have to be read further first.
   */
  constructor(options: SequencerOptions) {
    this.#options = {
      clock: () => Math.floor(Date.now() / 1_000),
      postingDelay: Math.min(HOUR, options.windows.posting / 4),
      maxReceipts: MAX_RECEIPTS_PER_BATCH,
      snapshotAfter: 2_000,
      failedRequestBytes: 256 * 2 ** 20,
      ...options,
    };
    this.#journal = options.journal;
    const { registry } = options;
    const needed = options.journal.newestRegistryTime();
    if (needed > (registry.head()?.time ?? 0)) {
      const details = { needed: String(needed) };
      throw new SettlementError("registryNotReady", "The registries were read further when this was written.", details);
    }
    this.#books = restoreBooks(options.journal, this.#restoring);
    this.#group = new CommitGroup(options.journal, this.#books);
  }

  async admit({ voucher: unsigned, signature, request, salt }: PaidRequest): Promise<AdmittedJob> {
    const { voucher, digest, saltBytes, salted } = understood(() => {
      const voucher: SignedVoucher = { ...unsigned, signature: fromHex(signature) };
      const saltBytes = fromHex(salt);
      const salted = saltedHash(saltBytes, request);
      return { voucher, saltBytes, salted, digest: voucherDigest(this.#journal.separator, unsigned) };
    });
    const jobId = toHex(digest);
    if (!sameBytes(salted, voucher.requestHash)) {
      throw new AdmissionError("requestMismatch", "The voucher is for another request.", { jobId });
    }
    const sessionKey = this.#ownChannel(voucher.channel).sessionKey.toLowerCase();
    if ((await signerRecovery.recover(digest, voucher.signature)) !== sessionKey) {
      throw new AdmissionError("badSignature", "The channel's session key has not signed this voucher.", { jobId });
    }
    return this.#group.add(() => this.#admit(jobId, voucher, request, saltBytes));
  }

  async complete(jobId: Hex, outcome: Outcome): Promise<ReceiptRecord> {
    return this.#group.add(() => {
      const job = this.#knownJob(jobId);
      if (job.state === "completed") return this.#journal.receipt(jobId)!;
      if (job.state === "failed") throw new JobError("jobFailed", `Job ${jobId} has failed: ${job.reason}.`, { jobId });
      checkHashes(job, outcome);
      return this.#charge(job, outcome);
    });
  }

  async fail(jobId: Hex, reason: string): Promise<void> {
    return this.#group.add(() => {
      const { state, voucher } = this.#knownJob(jobId);
      if (state === "completed") throw new JobError("jobCompleted", `Job ${jobId} is completed.`, { jobId });
      if (state === "failed") return;
      this.#journal.failJob(jobId, reason, this.#now(), this.#options.failedRequestBytes);
      const account = failJob(this.#books.account(voucher.channel), voucher.nonce);
      this.#books.setInFlight(voucher.channel, account.inFlight);
    });
  }

  async job(jobId: Hex): Promise<JobRecord | undefined> {
    return this.#journal.job(jobId);
  }

  async channel(channel: number, since = 0n): Promise<ChannelStatement> {
    const account = this.#books.account(channel);
    const receipts = this.#journal.receiptsOfChannel(channel, since, STATEMENT);
    return { charged: account.charged, reserved: reservedOf(account), receipts };
  }

  async *unfinished(): AsyncGenerator<JobRecord> {
    let after = 0;
    for (;;) {
      const page = this.#journal.unfinished(after, PAGE);
      for (const { job } of page) yield job;
      if (page.length < PAGE) return;
      after = page.at(-1)!.position;
    }
  }

  /** The state after all receipts so far. */
  get state(): State {
    return this.#books.state;
  }

  /** Receipts in the open batch. */
  get openReceipts(): number {
    return this.#books.open?.receipts.length ?? 0;
  }

  /** When the open batch got its first receipt, seconds since 1970; undefined while there is none. */
  get openSince(): number | undefined {
    return this.#books.open?.since;
  }

  /** The state after a sealed batch. Replays what no kept state covers. */
  stateAfter(sequence: number): State {
    return stateAfterBatch(this.#journal, this.#restoring, sequence);
  }

  /**
   * Closes the open batch: its header and what is to be published of it are in the journal.
   *
   * @returns Undefined when there are no receipts.
   */
  seal(): Promise<SealedBatch | undefined> {
    return this.#group.add(() => this.#seal());
  }

  /**
   * Builds everything above a batch anew, after those above it fell or came too late: what may still be posted keeps
   * its order and gets new batches, the rest is taken out of the books and its payers are not charged.
   */
  rebuildAbove(fall: Fall): Promise<Rebuilt> {
    return this.#group.add(() => {
      const { maxReceipts } = this.#options;
      const parts = {
        journal: this.#journal,
        books: this.#books,
        stateBefore: this.stateAfter(fall.above),
        nextBatch: () => this.#nextBatch(),
        context: (registryTime: number, channel: number) => ({
          ...this.#context(registryTime, channel),
          submittedAt: fall.postedBy,
        }),
        isFull: (receipts: number) => receipts >= maxReceipts,
        seal: () => this.#seal(),
        now: this.#now(),
      };
      return rebuildBooks(parts, fall);
    });
  }

  #admit(jobId: Hex, voucher: SignedVoucher, request: Uint8Array, salt: Uint8Array): AdmittedJob {
    const known = this.#journal.jobState(jobId);
    if (known) return { status: "known", jobId, state: known };
    const { agent, version } = voucher;
    const { deposit, thawing } = this.#ownChannel(voucher.channel);
    if (!this.#options.registry.agentVersion(agent, version)) {
      throw new AdmissionError("unknownAgentVersion", `There is no version ${version} of agent ${agent}.`, { jobId });
    }
    const now = this.#now();
    const terms = { deposit, thawing, now, voucherLife: this.#options.windows.voucherLife };
    const answer = admission(this.#books.account(voucher.channel), voucher, terms);
    if (!answer.admitted) {
      const details: Record<string, string> = { jobId };
      if (answer.requiredCap !== undefined) details.requiredCap = String(answer.requiredCap);
      throw new AdmissionError(answer.refusal, `The voucher is refused: ${answer.refusal}.`, details);
    }
    this.#journal.addJob({ jobId, voucher, request, salt, admittedAt: now });
    this.#books.setInFlight(voucher.channel, answer.account.inFlight);
    return { status: "admitted", jobId, state: "accepted" };
  }

  #charge({ jobId, voucher }: JobTerms, outcome: Outcome): ReceiptRecord {
    const books = this.#books;
    if ((books.open?.receipts.length ?? 0) >= this.#options.maxReceipts) this.#seal();
    const { composition } = this.#options.registry.agentVersion(voucher.agent, voucher.version)!;
    const receipt = receiptOf(outcome, voucher, composition);
    let open = books.open ?? this.#nextBatch();
    let appended = this.#append(open, receipt);
    if (appended.verdict !== VERDICT.valid && this.newestView > open.registryTime) {
      // What was registered or accepted after the batch's view may earn with a later one.
      const next = this.#nextBatch();
      const retried = this.#append(next, receipt);
      if (retried.verdict === VERDICT.valid) {
        open = this.#withLaterView(open, next);
        appended = retried;
      }
    }
    const { verdict, added, state } = appended;
    if (!added) {
      const name = verdictName(verdict);
      throw new JobError("receiptRefused", `The receipt of job ${jobId} would be a lie: ${name}.`, {
        jobId,
        verdict: name,
      });
    }

    const { channel, nonce } = voucher;
    const { inFlight, charged } = completeJob(books.account(channel), nonce, receipt.price);
    const record: ReceiptRecord = {
      jobId,
      channel,
      position: books.lastPosition + 1,
      batch: open.sequence,
      index: open.receipts.length,
      price: receipt.price,
      charged,
      body: added.body,
      stateRoot: added.stateRoot,
      completedAt: this.#now(),
    };
    if (!books.open) this.#journal.openBatch(open.sequence, open.registryTime);
    this.#journal.addReceipt(record, outcome.response, outcome.trace);
    open.receipts.push(added);
    books.open = open;
    books.lastSequence = open.sequence;
    books.lastPosition = record.position;
    books.state = state;
    books.setInFlight(channel, inFlight);
    return record;
  }

  /** The open batch with the view of the next one; where that would change its receipts, it is closed. */
  #withLaterView(open: OpenBooks, next: OpenBooks): OpenBooks {
    const { registryTime } = next;
    if (!standsLater(open, registryTime, this.#options)) {
      this.#seal();
      return next;
    }
    this.#journal.moveView(open.sequence, registryTime);
    this.#books.open = { ...open, registryTime };
    return this.#books.open;
  }

  get #restoring(): RestoreContext {
    const { registry, windows } = this.#options;
    return { operator: this.#journal.operator, separator: this.#journal.separator, windows, registry };
  }

  /** What appending would give; nothing is changed. */
  #append({ registryTime }: OpenBooks, receipt: Receipt) {
    const draft = openBatch(this.#books.state, this.#context(registryTime, receipt.voucher.channel));
    try {
      const { verdict } = appendReceipt(draft, receipt);
      return { verdict, added: draft.receipts[0], state: draft.state };
    } catch (error) {
      if (error instanceof MalformedBytes)
        return { verdict: VERDICT.malformedBody, added: undefined, state: draft.state };
      throw error;
    }
  }

  #seal(): SealedBatch | undefined {
    const books = this.#books;
    if (!books.open) return undefined;
    const { sequence, registryTime, receipts } = books.open;
    const batch = { context: this.#context(registryTime), state: books.state, receipts };
    const sealed = sealBatch(batch, books.parent, BigInt(sequence));
    this.#journal.sealBatch(sealed.header, sealed.data);
    books.unkeptReceipts += receipts.length;
    if (books.unkeptReceipts >= this.#options.snapshotAfter) {
      this.#journal.addSnapshot(sequence, encodeState(books.state));
      books.unkeptReceipts = 0;
    }
    books.parent = sealed.header;
    books.open = undefined;
    return sealed;
  }

  #nextBatch(): OpenBooks {
    const registryTime = Math.max(this.newestView, this.#books.parent?.registryTime ?? 0);
    return { sequence: this.#books.lastSequence + 1, registryTime, since: this.#now(), receipts: [] };
  }

  /** @param channel Whose voucher is judged: its signature was checked when it was admitted. */
  #context(registryTime: number, channel?: number): StepContext {
    const { registry, windows, postingDelay } = this.#options;
    const { operator, separator } = this.#journal;
    const submittedAt = this.#now() + postingDelay;
    const context = { operator, separator, registryTime, submittedAt, windows, registry };
    if (channel === undefined) return context;
    return { ...context, recover: () => registry.channel(channel)?.sessionKey.toLowerCase() as Hex | undefined };
  }

  #ownChannel(id: number): ChannelInfo & { thawing: bigint } {
    const channel = this.#options.registry.channel(id);
    if (channel?.operator === this.#journal.operator) return channel;
    throw new AdmissionError("unknownChannel", `There is no channel ${id} to this operator.`, { channel: String(id) });
  }

  #knownJob(jobId: Hex): JobTerms {
    const job = this.#journal.jobTerms(jobId);
    if (!job) throw new JobError("unknownJob", `There is no job ${jobId}.`, { jobId });
    return job;
  }

  /** Time of the newest view of the registries, seconds since 1970. @throws {SettlementError} `registryNotReady` */
  get newestView(): number {
    const head = this.#options.registry.head();
    if (!head) throw new SettlementError("registryNotReady", "The registries have not been read yet.");
    return head.time;
  }

  /** A clock that was set back is not believed beyond what the chain has shown. */
  #now(): number {
    return Math.max(this.#options.clock(), this.newestView);
  }
}

function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedBytes) throw new AdmissionError("malformedVoucher", error.message);
    throw error;
  }
}
