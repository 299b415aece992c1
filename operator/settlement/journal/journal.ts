import { DatabaseSync, type StatementSync } from "node:sqlite";
import { fromHex, type Hex, toHex } from "../../protocol/bytes.ts";
import { type BatchHeader, decodeHeader, encodeHeader } from "../../protocol/header.ts";
import { decodeReceipt } from "../../protocol/receipt.ts";
import type { SignedVoucher } from "../../protocol/voucher.ts";
import { JournalError, SettlementError } from "../errors.ts";
import type { JobRecord, JobState, ReceiptRecord } from "../sequencer.ts";
import { type JournalIdentity, prepareSchema } from "./schema.ts";
import { decodeVoucher, encodeVoucher } from "./voucher-bytes.ts";
import { takeWriterLock, type WriterLock } from "./writer-lock.ts";

export interface JournalOptions extends JournalIdentity {
  /** The database. Beside it lie its log (`-wal`, `-shm`) and the writer's lock (`.lock`). */
  file: string;
  /** Bytes that the database may grow to; without it, what the disk holds. */
  maxBytes?: number;
}

export interface JournaledBatch {
  sequence: number;
  registryTime: number;
  /** Undefined while the batch is open. */
  header: BatchHeader | undefined;
}

const PAGE_BYTES = 4_096;
/** SQLite's result codes, without their extensions. */
const SQLITE_FULL = 13;

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
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  /** @throws {JournalError} `locked`, `foreign` or `unknownSchema`. */
  constructor(options: JournalOptions) {
    this.file = options.file;
    this.operator = options.operator;
    this.separator = options.separator;
    this.#lock = takeWriterLock(options.file);
    try {
      this.#database = new DatabaseSync(options.file, { timeout: 5_000 });
    } catch (error) {
      this.#lock.release();
      throw error;
    }
    try {
      const limit = options.maxBytes === undefined ? "" : `PRAGMA max_page_count = ${pagesIn(options.maxBytes)};`;
      this.#database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA foreign_keys = ON; ${limit}`);
      prepareSchema(this.#database, options.file, options);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives the file and its lock back. Closing twice is no error. */
  close(): void {
    this.#prepared.clear();
    if (!this.#database.isOpen) return;
    this.#database.close();
    this.#lock.release();
  }

  /**
   * Does some writing as one: all of it is on the disk when this returns, or none of it is when this throws.
   *
   * @throws {JournalError} `full` or `failed` when the disk would not take it.
   */
  transaction<T>(work: () => T): T {
    return this.#within("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", work);
  }

  /** Does a part of a transaction's writing so that it can fail alone. Whether the whole still stands: `isWriting`. */
  part<T>(work: () => T): T {
    return this.#within("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part; RELEASE part", work);
  }

  /** Whether a transaction is under way; a disk error may have ended it. */
  get isWriting(): boolean {
    return this.#database.isTransaction;
  }

  addJob(job: { jobId: Hex; voucher: SignedVoucher; request: Uint8Array; salt: Uint8Array; admittedAt: number }): void {
    this.#run(
      "INSERT INTO job (id, state, voucher, request, salt, admitted_at) VALUES (?, 'accepted', ?, ?, ?, ?)",
      fromHex(job.jobId),
      encodeVoucher(job.voucher),
      job.request,
      job.salt,
      job.admittedAt,
    );
  }

  failJob(jobId: Hex, reason: string): void {
    this.#run(
      "UPDATE job SET state = 'failed', reason = ? WHERE id = ? AND state = 'accepted'",
      reason,
      fromHex(jobId),
    );
  }

  /** Adds a receipt with the answer and the trace behind it; its job is completed. */
  addReceipt(receipt: ReceiptRecord, response: Uint8Array, trace: Uint8Array): void {
    const id = fromHex(receipt.jobId);
    this.#run("UPDATE job SET state = 'completed' WHERE id = ? AND state = 'accepted'", id);
    this.#run(
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
    this.#run("INSERT INTO batch (sequence, registry_time) VALUES (?, ?)", sequence, registryTime);
  }

  /** Lets the open batch see the registries as they are later. */
  moveView(sequence: number, registryTime: number): void {
    this.#run("UPDATE batch SET registry_time = ? WHERE sequence = ?", registryTime, sequence);
  }

  /** Closes the open batch and keeps what is to be published of it. */
  sealBatch(header: BatchHeader, data: Uint8Array): void {
    this.#run("UPDATE batch SET header = ? WHERE sequence = ?", encodeHeader(header), Number(header.sequence));
    this.#run("INSERT OR IGNORE INTO published VALUES (?, ?)", header.dataHash, data);
  }

  /** Keeps the state after a batch. */
  addSnapshot(sequence: number, bytes: Uint8Array): void {
    this.#run("INSERT INTO snapshot VALUES (?, ?)", sequence, bytes);
  }

  /** Data to publish, by their hash. */
  published(hash: Uint8Array): Uint8Array | undefined {
    return this.#get<{ data: Uint8Array }>("SELECT data FROM published WHERE hash = ?", hash)?.data;
  }

  jobState(jobId: Hex): JobState | undefined {
    return this.#get<{ state: JobState }>("SELECT state FROM job WHERE id = ?", fromHex(jobId))?.state;
  }

  job(jobId: Hex): JobRecord | undefined {
    const row = this.#get<JobRow>("SELECT * FROM job WHERE id = ?", fromHex(jobId));
    if (!row) return undefined;
    const answer = this.#get<ReceiptRow & { response: Uint8Array; trace: Uint8Array }>(
      "SELECT * FROM receipt WHERE job = ?",
      row.id,
    );
    if (!answer) return jobOf(row);
    const receipt = receiptOf(answer);
    // No answer has no bytes: it was pruned.
    if (answer.response.length === 0) return { ...jobOf(row), receipt };
    return { ...jobOf(row), receipt, response: answer.response, trace: answer.trace };
  }

  /** Jobs in flight that were admitted after some position, with their positions. */
  unfinished(after: number, limit: number): { position: number; job: JobRecord }[] {
    const sql = "SELECT * FROM job WHERE state = 'accepted' AND position > ? ORDER BY position LIMIT ?";
    return this.#all<JobRow>(sql, after, limit).map((row) => ({ position: row.position, job: jobOf(row) }));
  }

  /** The vouchers of all jobs in flight. */
  vouchersInFlight(): SignedVoucher[] {
    const sql = "SELECT voucher FROM job WHERE state = 'accepted' ORDER BY position";
    return this.#all<{ voucher: Uint8Array }>(sql).map(({ voucher }) => decodeVoucher(voucher));
  }

  receipt(jobId: Hex): ReceiptRecord | undefined {
    const row = this.#get<ReceiptRow>(`${SELECT_RECEIPT} WHERE job = ?`, fromHex(jobId));
    return row && receiptOf(row);
  }

  /** Receipts of a channel after some position, ascending. */
  receiptsOfChannel(channel: number, after: bigint, limit: number): ReceiptRecord[] {
    const sql = `${SELECT_RECEIPT} WHERE channel = ? AND position > ? ORDER BY position LIMIT ?`;
    return this.#all<ReceiptRow>(sql, channel, after, limit).map(receiptOf);
  }

  /** Receipts of a batch, by their index. */
  receiptsOfBatch(sequence: number): ReceiptRecord[] {
    return this.#all<ReceiptRow>(`${SELECT_RECEIPT} WHERE batch = ? ORDER BY place`, sequence).map(receiptOf);
  }

  /** Receipts of all batches above one, in the order in which they were given. */
  receiptsAbove(sequence: number): ReceiptRecord[] {
    return this.#all<ReceiptRow>(`${SELECT_RECEIPT} WHERE batch > ? ORDER BY position`, sequence).map(receiptOf);
  }

  /** The last position given to a receipt. */
  lastPosition(): number {
    const last = (table: string) =>
      this.#get<{ last: number | null }>(`SELECT max(position) AS last FROM ${table}`)?.last ?? 0;
    return Math.max(last("receipt"), last("withdrawn_receipt"));
  }

  /** The last sequence number given to a batch. */
  lastSequence(): number {
    const last = (table: string) =>
      this.#get<{ last: number | null }>(`SELECT max(sequence) AS last FROM ${table}`)?.last ?? 0;
    return Math.max(last("batch"), last("fallen_batch"));
  }

  /** Writes down, for good, which sealed batches above one stand no more, and what stood in them. */
  recordFall(above: number, fellAt: number, reason: string): void {
    this.#run(
      `INSERT INTO fallen_batch SELECT sequence, registry_time, header, ?, ? FROM batch
       WHERE sequence > ? AND header IS NOT NULL`,
      fellAt,
      reason,
      above,
    );
    this.#run(
      `INSERT INTO fallen_receipt SELECT batch, place, job, state_root FROM receipt
       WHERE batch > ? AND batch IN (SELECT sequence FROM fallen_batch)`,
      above,
    );
  }

  /** Gives a receipt its place in another batch. */
  moveReceipt({ position, batch, index, charged, stateRoot }: ReceiptRecord): void {
    this.#run(
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
    this.#run(
      `INSERT INTO withdrawn_receipt SELECT position, job, channel, body, response, trace, completed_at, ?
       FROM receipt WHERE position = ?`,
      reason,
      position,
    );
    this.#run(
      "UPDATE job SET state = 'failed', reason = ? WHERE id = (SELECT job FROM receipt WHERE position = ?)",
      reason,
      position,
    );
    this.#run("DELETE FROM receipt WHERE position = ?", position);
  }

  /** Forgets batches that hold no receipts any more, and the states kept after them. */
  dropBatches(above: number, upTo: number): void {
    this.#run("DELETE FROM snapshot WHERE batch > ? AND batch <= ?", above, upTo);
    this.#run("DELETE FROM batch WHERE sequence > ? AND sequence <= ?", above, upTo);
  }

  /** How many sealed batches fell, and how many receipts were taken out of the books. */
  losses(): { batches: number; receipts: number } {
    const count = (table: string) => this.#get<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)!.n;
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
    const rows = this.#all<{ position: number; job: Uint8Array }>(sql, after, finalSequence, before, limit);
    for (const { position, job } of rows) {
      this.#run("UPDATE receipt SET response = x'', trace = x'' WHERE position = ?", position);
      this.#run("UPDATE job SET request = x'' WHERE id = ?", job);
    }
    return rows.at(-1)?.position;
  }

  /** Batches with a sequence number above some, ascending. */
  batches(after = 0): JournaledBatch[] {
    const sql = "SELECT sequence, registry_time, header FROM batch WHERE sequence > ? ORDER BY sequence";
    return this.#all<BatchRow>(sql, after).map(batchOf);
  }

  /** B of the newest batch; 0 before the first. */
  newestRegistryTime(): number {
    const sql = "SELECT registry_time AS time FROM batch ORDER BY sequence DESC LIMIT 1";
    return this.#get<{ time: number }>(sql)?.time ?? 0;
  }

  batch(sequence: number): JournaledBatch | undefined {
    const row = this.#get<BatchRow>("SELECT sequence, registry_time, header FROM batch WHERE sequence = ?", sequence);
    return row && batchOf(row);
  }

  /** The newest state kept at or below a batch, and the batch after which it held. */
  newestSnapshot(atMost: number): { batch: number; bytes: Uint8Array } | undefined {
    return this.#get("SELECT batch, bytes FROM snapshot WHERE batch <= ? ORDER BY batch DESC LIMIT 1", atMost);
  }

  #within<T>(begin: string, end: string, undo: string, work: () => T): T {
    try {
      this.#database.exec(begin);
      const result = work();
      this.#database.exec(end);
      return result;
    } catch (error) {
      // After some errors of the disk SQLite has rolled back on its own.
      if (this.#database.isOpen && this.#database.isTransaction) this.#database.exec(undo);
      throw error instanceof SettlementError || !isSqliteError(error) ? error : this.#diskError(error);
    }
  }

  #diskError(cause: Error & { errcode: number }): JournalError {
    const full = (cause.errcode & 0xff) === SQLITE_FULL;
    const message = full ? `No room for ${this.file}.` : `Writing ${this.file} failed: ${cause.message}.`;
    return new JournalError(full ? "full" : "failed", message, { file: this.file }, { cause });
  }

  #statement(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known) return known;
    if (!this.#database.isOpen) throw new JournalError("closed", `${this.file} is closed.`);
    const statement = this.#database.prepare(sql);
    this.#prepared.set(sql, statement);
    return statement;
  }

  #run(sql: string, ...values: SqlValue[]): void {
    this.#statement(sql).run(...values);
  }

  #get<Row>(sql: string, ...values: SqlValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  #all<Row>(sql: string, ...values: SqlValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }
}

type SqlValue = Uint8Array | number | bigint | string;

interface JobRow {
  position: number;
  id: Uint8Array;
  state: JobState;
  voucher: Uint8Array;
  request: Uint8Array;
  salt: Uint8Array;
  admitted_at: number;
  reason: string | null;
}

interface ReceiptRow {
  position: number;
  job: Uint8Array;
  channel: number;
  batch: number;
  place: number;
  charged: string;
  body: Uint8Array;
  state_root: Uint8Array;
  completed_at: number;
}

interface BatchRow {
  sequence: number;
  registry_time: number;
  header: Uint8Array | null;
}

/** Without answer and trace, which are large. */
const SELECT_RECEIPT =
  "SELECT position, job, channel, batch, place, charged, body, state_root, completed_at FROM receipt";

function jobOf(row: JobRow): JobRecord {
  const { request, salt, state } = row;
  const voucher = decodeVoucher(row.voucher);
  const job: JobRecord = { jobId: toHex(row.id), state, voucher, request, salt, admittedAt: row.admitted_at };
  return row.reason === null ? job : { ...job, reason: row.reason };
}

function receiptOf(row: ReceiptRow): ReceiptRecord {
  return {
    jobId: toHex(row.job),
    channel: row.channel,
    position: row.position,
    batch: row.batch,
    index: row.place,
    price: decodeReceipt(row.body).price,
    charged: BigInt(row.charged),
    body: row.body,
    stateRoot: row.state_root,
    completedAt: row.completed_at,
  };
}

function batchOf({ sequence, registry_time, header }: BatchRow): JournaledBatch {
  return { sequence, registryTime: registry_time, header: header ? decodeHeader(header) : undefined };
}

function pagesIn(bytes: number): number {
  return Math.max(1, Math.floor(bytes / PAGE_BYTES));
}

function isSqliteError(error: unknown): error is Error & { errcode: number } {
  return error instanceof Error && "errcode" in error;
}
