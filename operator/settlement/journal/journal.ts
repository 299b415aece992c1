import { fromHex, type Hex } from "../../protocol/bytes.ts";
import { type BatchHeader, encodeHeader } from "../../protocol/header.ts";
import type { SignedVoucher } from "../../protocol/voucher.ts";
import type { JobRecord, JobState, ReceiptRecord } from "../sequencer.ts";
import { type DatabaseOptions, JournalDatabase } from "./database.ts";
import { diskErrorOf } from "./disk-error.ts";
import { FailedJobs } from "./failed-jobs.ts";
import {
  type BatchRow,
  batchOf,
  type JobRow,
  type JournaledBatch,
  jobOf,
  type ReceiptRow,
  receiptOf,
  SELECT_RECEIPT,
} from "./rows.ts";
import { type JournalIdentity, prepareSchema } from "./schema.ts";
import { decodeVoucher, encodeVoucher } from "./voucher-bytes.ts";
import { takeWriterLock, type WriterLock } from "./writer-lock.ts";

/** Beside the file lie its log (`-wal`, `-shm`) and the writer's lock (`.lock`). */
export interface JournalOptions extends JournalIdentity, DatabaseOptions {}

/** What charging a job or giving it up asks of it. */
export interface JobTerms extends Pick<JobRecord, "jobId" | "state" | "voucher" | "salt"> {
  reason: string | null;
}

/**
 * An operator's books on the disk: vouchers with their requests, receipts with their answers and traces, batches and
 * what is published of them. SQLite with a write-ahead log that is synchronised before a transaction counts, so that
 * neither a killed process nor a power cut loses what was acknowledged. One process writes; any number may read.
 */
export class Journal {
  readonly file: string;
  readonly operator: number;
  readonly separator: Uint8Array;
  readonly #lock: WriterLock;
  readonly #database: JournalDatabase;
  readonly #failed: FailedJobs;

  /** @throws {JournalError} `locked`, `foreign`, `unknownSchema`, or `full` or `failed` when the disk is. */
  constructor(options: JournalOptions) {
    this.file = options.file;
    this.operator = options.operator;
    this.separator = options.separator;
    this.#lock = takeWriterLock(options.file);
    try {
      this.#database = new JournalDatabase(options);
      this.#failed = new FailedJobs(this.#database);
    } catch (error) {
      this.#lock.release();
      throw diskErrorOf(error, options.file);
    }
    try {
      prepareSchema(this.#database.raw, options.file, options);
    } catch (error) {
      this.close();
      throw diskErrorOf(error, options.file);
    }
  }

  /** Gives the file and its lock back. Closing twice is no error. */
  close(): void {
    if (!this.#database.isOpen) return;
    this.#database.close();
    this.#lock.release();
  }

  /** As {@link JournalDatabase.transaction}. @throws {JournalError} `full` or `failed`. */
  transaction<T>(work: () => T): T {
    return this.#database.transaction(work);
  }

  /** As {@link JournalDatabase.part}. */
  part<T>(work: () => T): T {
    return this.#database.part(work);
  }

  /** Why the last write failed; undefined once one has gone well again. */
  get writeError(): string | undefined {
    return this.#database.writeError;
  }

  /** Whether a transaction is under way; a disk error may have ended it. */
  get isWriting(): boolean {
    return this.#database.isWriting;
  }

  addJob(job: { jobId: Hex; voucher: SignedVoucher; request: Uint8Array; salt: Uint8Array; admittedAt: number }): void {
    this.#database.run(
      "INSERT INTO job (id, state, voucher, request, salt, admitted_at) VALUES (?, 'accepted', ?, ?, ?, ?)",
      fromHex(job.jobId),
      encodeVoucher(job.voucher),
      job.request,
      job.salt,
      job.admittedAt,
    );
  }

  /**
   * Gives a job up.
   *
   * @param failedAt Seconds since 1970.
   * @param mostBytes What the requests of failed jobs may take in all: the oldest make room.
   */
  failJob(jobId: Hex, reason: string, failedAt: number, mostBytes: number): void {
    const id = fromHex(jobId);
    const sql = "UPDATE job SET state = 'failed', reason = ? WHERE id = ? AND state = 'accepted'";
    if (this.#database.run(sql, reason, id) === 0) return;
    this.#failed.add(id, failedAt);
    this.#failed.emptyRequests(mostBytes);
  }

  /** Adds a receipt with the answer and the trace behind it; its job is completed. */
  addReceipt(receipt: ReceiptRecord, response: Uint8Array, trace: Uint8Array): void {
    const id = fromHex(receipt.jobId);
    this.#database.run("UPDATE job SET state = 'completed' WHERE id = ? AND state = 'accepted'", id);
    this.#database.run(
      "INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      receipt.position,
      id,
      receipt.channel,
      receipt.batch,
      receipt.index,
      String(receipt.charged),
      receipt.body,
      receipt.stateRoot,
      response,
      trace,
      receipt.completedAt,
    );
  }

  openBatch(sequence: number, registryTime: number): void {
    this.#database.run("INSERT INTO batch (sequence, registry_time) VALUES (?, ?)", sequence, registryTime);
  }

  /** Lets the open batch see the registries as they are later. */
  moveView(sequence: number, registryTime: number): void {
    this.#database.run("UPDATE batch SET registry_time = ? WHERE sequence = ?", registryTime, sequence);
  }

  /** Closes the open batch and keeps what is to be published of it. */
  sealBatch(header: BatchHeader, data: Uint8Array): void {
    this.#database.run("UPDATE batch SET header = ? WHERE sequence = ?", encodeHeader(header), Number(header.sequence));
    this.#database.run("INSERT OR IGNORE INTO published VALUES (?, ?)", header.dataHash, data);
  }

  /** Keeps the state after a batch. */
  addSnapshot(sequence: number, bytes: Uint8Array): void {
    this.#database.run("INSERT INTO snapshot VALUES (?, ?)", sequence, bytes);
  }

  /** Data to publish, by their hash. */
  published(hash: Uint8Array): Uint8Array | undefined {
    return this.#database.get<{ data: Uint8Array }>("SELECT data FROM published WHERE hash = ?", hash)?.data;
  }

  jobState(jobId: Hex): JobState | undefined {
    return this.#database.get<{ state: JobState }>("SELECT state FROM job WHERE id = ?", fromHex(jobId))?.state;
  }

  job(jobId: Hex): JobRecord | undefined {
    const row = this.#database.get<JobRow>("SELECT * FROM job WHERE id = ?", fromHex(jobId));
    if (!row) return undefined;
    if (row.state !== "completed") return jobOf(row);
    const sql = "SELECT * FROM receipt WHERE job = ?";
    const answer = this.#database.get<ReceiptRow & { response: Uint8Array; trace: Uint8Array }>(sql, row.id)!;
    const receipt = receiptOf(answer);
    // No answer has no bytes: it was pruned.
    if (answer.response.length === 0) return { ...jobOf(row), receipt };
    return { ...jobOf(row), receipt, response: answer.response, trace: answer.trace };
  }

  /** A job without its request and its answer, which may be large. */
  jobTerms(jobId: Hex): JobTerms | undefined {
    const sql = "SELECT state, voucher, salt, reason FROM job WHERE id = ?";
    const row = this.#database.get<Pick<JobRow, "state" | "voucher" | "salt" | "reason">>(sql, fromHex(jobId));
    return row && { ...row, jobId, voucher: decodeVoucher(row.voucher) };
  }

  /** Jobs in flight that were admitted after some position, with their positions. */
  unfinished(after: number, limit: number): { position: number; job: JobRecord }[] {
    const sql = "SELECT * FROM job WHERE state = 'accepted' AND position > ? ORDER BY position LIMIT ?";
    return this.#database.all<JobRow>(sql, after, limit).map((row) => ({ position: row.position, job: jobOf(row) }));
  }

  /** The vouchers of all jobs in flight. */
  vouchersInFlight(): SignedVoucher[] {
    const sql = "SELECT voucher FROM job WHERE state = 'accepted' ORDER BY position";
    return this.#database.all<{ voucher: Uint8Array }>(sql).map(({ voucher }) => decodeVoucher(voucher));
  }

  receipt(jobId: Hex): ReceiptRecord | undefined {
    const row = this.#database.get<ReceiptRow>(`${SELECT_RECEIPT} WHERE job = ?`, fromHex(jobId));
    return row && receiptOf(row);
  }

  /** Receipts of a channel after some position, ascending. */
  receiptsOfChannel(channel: number, after: bigint, limit: number): ReceiptRecord[] {
    const sql = `${SELECT_RECEIPT} WHERE channel = ? AND position > ? ORDER BY position LIMIT ?`;
    return this.#database.all<ReceiptRow>(sql, channel, after, limit).map(receiptOf);
  }

  /** Receipts of a batch, by their index. */
  receiptsOfBatch(sequence: number): ReceiptRecord[] {
    return this.#database.all<ReceiptRow>(`${SELECT_RECEIPT} WHERE batch = ? ORDER BY place`, sequence).map(receiptOf);
  }

  /** Receipts of all batches above one, in the order in which they were given. */
  receiptsAbove(sequence: number): ReceiptRecord[] {
    return this.#database
      .all<ReceiptRow>(`${SELECT_RECEIPT} WHERE batch > ? ORDER BY position`, sequence)
      .map(receiptOf);
  }

  /** The last position given to a receipt. */
  lastPosition(): number {
    const last = (table: string) =>
      this.#database.get<{ last: number | null }>(`SELECT max(position) AS last FROM ${table}`)?.last ?? 0;
    return Math.max(last("receipt"), last("withdrawn_receipt"));
  }

  /** The last sequence number given to a batch. */
  lastSequence(): number {
    const last = (table: string) =>
      this.#database.get<{ last: number | null }>(`SELECT max(sequence) AS last FROM ${table}`)?.last ?? 0;
    return Math.max(last("batch"), last("fallen_batch"));
  }

  /** Writes down, for good, which sealed batches above one stand no more, and what stood in them. */
  recordFall(above: number, fellAt: number, reason: string): void {
    this.#database.run(
      `INSERT INTO fallen_batch SELECT sequence, registry_time, header, ?, ? FROM batch
       WHERE sequence > ? AND header IS NOT NULL`,
      fellAt,
      reason,
      above,
    );
    this.#database.run(
      `INSERT INTO fallen_receipt SELECT batch, place, job, state_root FROM receipt
       WHERE batch > ? AND batch IN (SELECT sequence FROM fallen_batch)`,
      above,
    );
  }

  /** Gives a receipt its place in another batch. */
  moveReceipt({ position, batch, index, charged, stateRoot }: ReceiptRecord): void {
    this.#database.run(
      "UPDATE receipt SET batch = ?, place = ?, charged = ?, state_root = ? WHERE position = ?",
      batch,
      index,
      String(charged),
      stateRoot,
      position,
    );
  }

  /** Takes a receipt out of the books: its job has failed, and what was answered is kept aside. */
  withdrawReceipt(position: number, reason: string): void {
    this.#database.run(
      `INSERT INTO withdrawn_receipt SELECT position, job, channel, body, response, trace, completed_at, ?
       FROM receipt WHERE position = ?`,
      reason,
      position,
    );
    this.#database.run(
      "UPDATE job SET state = 'failed', reason = ? WHERE id = (SELECT job FROM receipt WHERE position = ?)",
      reason,
      position,
    );
    this.#database.run("DELETE FROM receipt WHERE position = ?", position);
  }

  /** Forgets batches that hold no receipts any more, and the states kept after them. */
  dropBatches(above: number, upTo: number): void {
    this.#database.run("DELETE FROM snapshot WHERE batch > ? AND batch <= ?", above, upTo);
    this.#database.run("DELETE FROM batch WHERE sequence > ? AND sequence <= ?", above, upTo);
  }

  /** How many sealed batches fell, and how many receipts were taken out of the books. */
  losses(): { batches: number; receipts: number } {
    const count = (table: string) => this.#database.get<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)!.n;
    return { batches: count("fallen_batch"), receipts: count("withdrawn_receipt") };
  }

  /**
   * Empties requests, answers and traces of jobs whose batch is final; vouchers, receipts and batches stay.
   *
   * @param after Position of the last receipt that was looked at.
   * @param finalSequence Newest batch that is final.
   * @param before Seconds since 1970: what was completed later stays.
   * @returns Position of the last receipt that was looked at; undefined when there was none.
   */
  prune(after: number, finalSequence: number, before: number, limit: number): number | undefined {
    const sql = `SELECT position, job FROM receipt WHERE position > ? AND batch <= ? AND completed_at < ?
      ORDER BY position LIMIT ?`;
    const rows = this.#database.all<{ position: number; job: Uint8Array }>(sql, after, finalSequence, before, limit);
    for (const { position, job } of rows) {
      this.#database.run("UPDATE receipt SET response = x'', trace = x'' WHERE position = ?", position);
      this.#database.run("UPDATE job SET request = x'' WHERE id = ?", job);
    }
    return rows.at(-1)?.position;
  }

  /** Bytes that the requests of failed jobs count for. */
  get failedRequestBytes(): number {
    return this.#failed.requestBytes;
  }

  /** As {@link FailedJobs.forget}. */
  forgetFailed(before: number, limit: number): number {
    return this.#failed.forget(before, limit);
  }

  /** Batches with a sequence number above some, ascending. */
  batches(after = 0): JournaledBatch[] {
    const sql = "SELECT sequence, registry_time, header FROM batch WHERE sequence > ? ORDER BY sequence";
    return this.#database.all<BatchRow>(sql, after).map(batchOf);
  }

  /** B of the newest batch; 0 before the first. */
  newestRegistryTime(): number {
    const sql = "SELECT registry_time AS time FROM batch ORDER BY sequence DESC LIMIT 1";
    return this.#database.get<{ time: number }>(sql)?.time ?? 0;
  }

  batch(sequence: number): JournaledBatch | undefined {
    const row = this.#database.get<BatchRow>(
      "SELECT sequence, registry_time, header FROM batch WHERE sequence = ?",
      sequence,
    );
    return row && batchOf(row);
  }

  /** The newest state kept at or below a batch, and the batch after which it held. */
  newestSnapshot(atMost: number): { batch: number; bytes: Uint8Array } | undefined {
    return this.#database.get("SELECT batch, bytes FROM snapshot WHERE batch <= ? ORDER BY batch DESC LIMIT 1", atMost);
  }
}
