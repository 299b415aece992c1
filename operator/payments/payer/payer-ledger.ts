import { randomBytes } from "node:crypto";
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import { formatEther } from "viem";
import { fromHex, type Hex, sameBytes, toHex } from "../../protocol/bytes.ts";
import { type CapLedger, confirmJob, forgetJob, reserveCap } from "../../protocol/cap-ledger.ts";
import { keccak } from "../../protocol/keccak.ts";
import type { Receipt } from "../../protocol/receipt.ts";
import { saltedHash } from "../../protocol/salted-hash.ts";
import { addressOf, signDigest } from "../../protocol/signature.ts";
import { domainSeparator, type SignedVoucher, type VoucherDomain, voucherDigest } from "../../protocol/voucher.ts";
import { decodeVoucher, encodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import { PaymentError } from "../payment-error.ts";
import type { Quote, QuotedReceipt, QuotedStatement } from "../quote.ts";
import { decodePaymentSignature, encodePaymentSignature } from "../x402/payment-signature.ts";
import { checkReceipt, Lie, readReceipt } from "./check-receipt.ts";
import { type JobRow, jobOf, type PayerJob, signedFor } from "./ledger-jobs.ts";
import { openLedgerFile } from "./ledger-schema.ts";

export interface PayerLedgerOptions {
  /** The database, one for each channel. Processes that pay from one channel share it. */
  file: string;
  channel: number;
  /** The contract that holds the channel. */
  domain: VoucherDomain;
  /** The session key, 32 bytes. */
  privateKey: Uint8Array;
  /** Seconds since 1970. Default: the system's. */
  clock?: () => number;
}

/** A voucher, stored and signed. */
export interface SignedJob {
  jobId: Hex;
  nonce: bigint;
  /** Wei of OPEN. */
  maxPrice: bigint;
  cap: bigint;
  /** Seconds since 1970. */
  expiry: bigint;
  /** The value of `PAYMENT-SIGNATURE`: a resend has the same bytes. */
  header: string;
}

/** How a channel stands for its payer. Amounts are wei of OPEN. */
export interface PayerBalance {
  /** Charged by receipts that are here. */
  charged: bigint;
  /** What unresolved jobs may cost at most, and how many they are. */
  unresolved: bigint;
  jobs: number;
  /** The highest cap ever signed: the most that can be lost on this channel, whatever anybody does. */
  exposure: bigint;
}

interface Account {
  next_nonce: number;
  charged: string;
  exposure: string;
  since: number;
  since_charged: string;
  lie: string | null;
}

/**
 * What a payer keeps of one channel on its disk. A voucher is stored before it leaves, so that whatever is killed when,
 * no cap is signed too high and no charge is believed twice. Receipts are checked before a higher cap is signed; after
 * one that cannot be true, nothing more is signed.
 */
export class PayerLedger {
  readonly channel: number;
  readonly domain: VoucherDomain;
  /** Address of the session key. */
  readonly sessionKey: Hex;
  readonly #separator: Uint8Array;
  readonly #privateKey: Uint8Array;
  readonly #clock: () => number;
  readonly #database: DatabaseSync;

  /** @throws {PaymentError} `foreignLedger`. */
  constructor(options: PayerLedgerOptions) {
    this.channel = options.channel;
    this.domain = options.domain;
    this.sessionKey = addressOf(options.privateKey);
    this.#separator = domainSeparator(options.domain);
    this.#privateKey = options.privateKey;
    this.#clock = options.clock ?? (() => Math.floor(Date.now() / 1_000));
    const { channel, sessionKey } = this;
    this.#database = openLedgerFile(options.file, { channel, sessionKey, separator: this.#separator });
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /**
   * Signs for a request: takes the next nonce and the least cap that covers it, and stores the voucher. It is on the
   * disk when this returns.
   *
   * @param quote The terms agreed to; `maxPrice` is what the voucher will allow.
   * @param request The request's bytes (`requestBytes`).
   * @param maxTotal Wei of OPEN that the operator may collect from the channel in all.
   * @throws {PaymentError} `operatorLied` once a lie was found; `totalAboveLimit`; `tooManyUnresolved`.
   */
  reserve(quote: Quote, request: Uint8Array, maxTotal?: bigint): SignedJob {
    const salt = randomBytes(32);
    const requestHash = saltedHash(salt, request);
    return this.#transaction(() => {
      this.#refuseLiar();
      const { terms, maxPrice, voucherLife } = quote;
      const reservation = reserveCap(this.#ledger(), maxPrice);
      if (!reservation) {
        const message =
          "A job of 256 vouchers ago is unresolved: wait for its answer, or until its voucher has expired.";
        throw new PaymentError("tooManyUnresolved", message);
      }
      const { nonce, cap, ledger } = reservation;
      if (maxTotal !== undefined && cap > maxTotal) {
        const message = `This job would let the operator collect ${formatEther(cap)} OPEN in all; the limit is ${formatEther(maxTotal)}.`;
        throw new PaymentError("totalAboveLimit", message, { cap: String(cap), limit: String(maxTotal) });
      }
      // A tenth less than the longest life, for clocks that disagree.
      const expiry = BigInt(this.#clock() + Math.max(1, Math.floor(voucherLife * 0.9)));
      const { channel } = this;
      const { agent, version } = terms;
      const unsigned = { channel, nonce, agent, version, requestHash, maxPrice, cap, expiry };
      const digest = voucherDigest(this.#separator, unsigned);
      const signature = signDigest(digest, this.#privateKey);
      const payment = { voucher: unsigned, signature: toHex(signature), salt: toHex(salt) };
      const header = encodePaymentSignature(payment, quote);
      this.#run(
        `INSERT INTO job (nonce, id, state, voucher, signed_at, question, header, job_price, prompt_price,
          completion_price) VALUES (?, ?, 'signed', ?, ?, ?, ?, ?, ?, ?)`,
        nonce,
        digest,
        encodeVoucher({ ...unsigned, signature }),
        this.#clock(),
        keccak(request),
        header,
        String(terms.pricePerJob),
        String(terms.pricePerPromptToken),
        String(terms.pricePerCompletionToken),
      );
      this.#keep(ledger);
      return { jobId: toHex(digest), nonce, maxPrice, cap, expiry, header };
    });
  }

  /**
   * Takes a job's receipt, after checking it. Taking it again changes nothing.
   *
   * @throws {PaymentError} `operatorLied` when it cannot be true.
   */
  confirm(jobId: Hex, charge: QuotedReceipt & { price: bigint }): PayerJob {
    return this.#believing(() => {
      const read = readReceipt(charge.body, this.#separator);
      if (toHex(read.id) !== jobId) throw new Lie(`The receipt of job ${jobId} is of another`, charge.body);
      if (read.receipt.price !== charge.price)
        throw new Lie(`The price of job ${jobId} is not its receipt's`, charge.body);
      this.#take(charge);
      return jobOf(this.#row(read.id)!);
    });
  }

  /**
   * Compares an answer with the one that its receipt stands for.
   *
   * @param answerOf Gives the bytes that the response hash is of, as the answer that came has them; undefined when it
   * cannot be that of the receipt.
   * @throws {PaymentError} `operatorLied` when it is another.
   */
  checkAnswer(jobId: Hex, answerOf: (receipt: Receipt) => Uint8Array | undefined): void {
    this.#believing(() => {
      const row = this.#row(fromHex(jobId));
      if (!row?.receipt || row.header === null) return;
      const { receipt } = readReceipt(row.receipt, this.#separator);
      const { salt } = decodePaymentSignature(row.header, this.domain);
      const answer = answerOf(receipt);
      if (answer && sameBytes(saltedHash(fromHex(salt), answer), receipt.responseHash)) return;
      throw new Lie(`The answer to job ${jobId} is not the one that its receipt stands for`, answer);
    });
  }

  /**
   * Takes what the operator says of the channel: each receipt is checked, and their sum must be what it says was
   * charged. Jobs whose vouchers have expired and that cannot be in flight any more are forgotten.
   *
   * @throws {PaymentError} `malformed` when it is of another channel; `operatorLied` when it cannot be true.
   */
  takeStatement(statement: QuotedStatement): void {
    if (statement.channel !== this.channel) {
      throw new PaymentError("malformed", `The operator speaks of channel ${statement.channel}, not ${this.channel}.`);
    }
    this.#believing(() => {
      const { since, since_charged } = this.#account();
      let total = BigInt(since_charged);
      let last = 0;
      for (const given of statement.receipts) {
        if (given.position <= last) throw new Lie("The receipts of a statement are out of order", given.body);
        last = given.position;
        const { price } = this.#take(given);
        // What another process has taken meanwhile is in the total already.
        if (given.position <= since) continue;
        if (given.charged > total + price) {
          const message = `With receipt ${given.position}, ${total + price} wei are charged, not ${given.charged}`;
          throw new Lie(message, given.body);
        }
        // It is less where receipts of a batch that fell were withdrawn.
        total = given.charged;
      }
      // Less is a statement from before the newest receipts here, and claims nothing.
      if (statement.isComplete && statement.charged > total) {
        throw new Lie(`${statement.charged} wei are said to be charged; receipts show ${total}`);
      }
      if (statement.isComplete) this.#forgetExpired(statement.reserved);
    });
  }

  /**
   * Forgets a job that the operator did not take or gave up. Should it be charged all the same, its receipt is taken
   * when it is shown; the exposure is not raised by that.
   */
  forget(jobId: Hex, reason: string): void {
    this.#transaction(() => this.#forget(fromHex(jobId), reason));
  }

  /** Notes that nobody waits for a job any more, though it may be served: its fate is unknown, or the asker left. */
  lose(jobId: Hex, loss: "unknown" | "left"): void {
    // A statement may have shown its receipt meanwhile: the answer has not come all the same.
    const change = "UPDATE job SET loss = ? WHERE id = ? AND state IN ('signed', 'charged')";
    this.#transaction(() => this.#run(change, loss, fromHex(jobId)));
  }

  /**
   * The voucher with which the same request was sent before, when its answer did not come: sent again it is the same
   * job, paid once, also where its receipt is here by now. One caller gets it.
   *
   * @param evenLeft Also what the asker left: for a request that is known to be made again.
   */
  claimLost(request: Uint8Array, evenLeft: boolean): SignedJob | undefined {
    return this.#transaction(() => {
      this.#refuseLiar();
      const losses = evenLeft ? "'unknown', 'left'" : "'unknown'";
      const found = this.#one<JobRow>(
        `UPDATE job SET loss = NULL WHERE nonce = (SELECT min(nonce) FROM job
          WHERE question = ? AND loss IN (${losses})) RETURNING *`,
        keccak(request),
      );
      if (!found) return undefined;
      const { nonce, maxPrice, cap, expiry } = decodeVoucher(found.voucher);
      return { jobId: toHex(found.id), nonce, maxPrice, cap, expiry, header: found.header! };
    });
  }

  /** Jobs of which nothing is known and for which nobody waits, or whose vouchers have expired: up to 256. */
  adrift(): PayerJob[] {
    const rows = this.#all<JobRow>("SELECT * FROM job WHERE state = 'signed' ORDER BY nonce");
    const lost = new Set(
      this.#all<{ nonce: number }>("SELECT nonce FROM job WHERE loss IS NOT NULL").map((r) => r.nonce),
    );
    return rows
      .filter((row) => lost.has(row.nonce) || this.#hasExpired(decodeVoucher(row.voucher).expiry))
      .map((row) => jobOf(row));
  }

  job(jobId: Hex): PayerJob | undefined {
    const row = this.#row(fromHex(jobId));
    return row && jobOf(row);
  }

  /** What shows the operator, and whoever verifies the job, that the request is known: question, answer and trace. */
  saltOf(jobId: Hex): Hex | undefined {
    const header = this.#row(fromHex(jobId))?.header;
    return header ? decodePaymentSignature(header, this.domain).salt : undefined;
  }

  /** The newest jobs, newest first. */
  history(limit = 100): PayerJob[] {
    return this.#all<JobRow>("SELECT * FROM job ORDER BY nonce DESC LIMIT ?", limit).map(jobOf);
  }

  balance(): PayerBalance {
    const { charged, exposure, unresolved } = this.#ledger();
    const prices = [...unresolved.values()];
    return { charged, exposure, jobs: prices.length, unresolved: prices.reduce((sum, price) => sum + price, 0n) };
  }

  /** Position of the last receipt up to which all of the channel's are here: what to ask statements from. */
  get since(): bigint {
    return BigInt(this.#account().since);
  }

  /** Checks a receipt and counts it. Gives its price. */
  #take(given: QuotedReceipt): { price: bigint } {
    const { body, position, charged } = given;
    const read = readReceipt(body, this.#separator);
    const { voucher, price } = read.receipt;
    let row = this.#row(read.id);
    if (row?.state === "charged") {
      const isSame = sameBytes(row.receipt!, body) && row.position === position && charged <= BigInt(row.charged!);
      if (!isSame) throw new Lie(`Job ${toHex(read.id)} has two receipts, or one in two places`, body);
      return { price };
    }
    checkReceipt(read, this, row && signedFor(row), body);
    if (!row) {
      this.#adopt(read.id, voucher, body);
      row = this.#row(read.id)!;
    }
    const ledger = this.#ledger();
    this.#checkPlace(given, price, ledger.exposure);
    const { nonce, maxPrice } = voucher;
    const open: CapLedger = { ...ledger, unresolved: new Map(ledger.unresolved).set(nonce, maxPrice) };
    this.#keep(confirmJob(open, nonce, price));
    this.#run(
      "UPDATE job SET state = 'charged', reason = NULL, price = ?, charged = ?, position = ?, receipt = ? WHERE nonce = ?",
      String(price),
      String(charged),
      position,
      body,
      row.nonce,
    );
    this.#advance();
    return { price };
  }

  /**
   * What a receipt says was charged in all is covered by what comes after it, and by the highest cap. That it is less
   * than what came before is no lie: receipts of a batch that fell may have been withdrawn.
   */
  #checkPlace({ position, charged, body }: QuotedReceipt, price: bigint, exposure: bigint): void {
    const after = this.#one<JobRow>("SELECT * FROM job WHERE position > ? ORDER BY position", position);
    const most = after ? BigInt(after.charged!) - BigInt(after.price!) : exposure;
    const isTaken = this.#one("SELECT 1 FROM job WHERE position = ?", position) !== undefined;
    if (isTaken || charged < price || charged > most) {
      throw new Lie(`Receipt ${position} says that ${charged} wei are charged; there can be ${most} at most`, body);
    }
  }

  /** Moves on the place up to which all receipts are here: none adds more than its price. */
  #advance(): void {
    const { since, since_charged } = this.#account();
    let [place, total] = [since, BigInt(since_charged)];
    const rows = this.#all<JobRow>("SELECT * FROM job WHERE position > ? ORDER BY position", since);
    for (const { position, price, charged } of rows) {
      if (BigInt(charged!) > total + BigInt(price!)) break;
      [place, total] = [position!, BigInt(charged!)];
    }
    this.#run("UPDATE account SET since = ?, since_charged = ?", place, String(total));
  }

  /** A voucher that this key signed with another file, which was lost or lies elsewhere. */
  #adopt(id: Uint8Array, voucher: SignedVoucher, body: Uint8Array): void {
    const other = this.#one<JobRow>("SELECT * FROM job WHERE nonce = ?", voucher.nonce);
    if (other)
      throw new PaymentError("foreignLedger", "Another ledger signs for this channel: its processes must share one.");
    if (voucher.nonce >= BigInt(Number.MAX_SAFE_INTEGER))
      throw new Lie("A receipt has a nonce never signed here", body);
    this.#run(
      "INSERT INTO job (nonce, id, state, voucher, signed_at) VALUES (?, ?, 'signed', ?, ?)",
      voucher.nonce,
      id,
      encodeVoucher(voucher),
      this.#clock(),
    );
    const ledger = this.#ledger();
    const nextNonce = voucher.nonce >= ledger.nextNonce ? voucher.nonce + 1n : ledger.nextNonce;
    this.#keep({ ...ledger, nextNonce, exposure: voucher.cap > ledger.exposure ? voucher.cap : ledger.exposure });
  }

  /** An expired voucher cannot be admitted any more, and one in flight has its price reserved. */
  #forgetExpired(reserved: bigint): void {
    for (const { id, voucher } of this.#all<JobRow>("SELECT * FROM job WHERE state = 'signed'")) {
      const { expiry, maxPrice } = decodeVoucher(voucher);
      if (this.#hasExpired(expiry) && maxPrice > reserved) this.#forget(id, "its voucher expired");
    }
  }

  #forget(id: Uint8Array, reason: string): void {
    const row = this.#row(id);
    if (row?.state !== "signed") return;
    this.#run("UPDATE job SET state = 'forgotten', loss = NULL, reason = ? WHERE id = ?", reason, id);
    this.#keep(forgetJob(this.#ledger(), BigInt(row.nonce)));
  }

  #ledger(): CapLedger {
    const { charged, exposure, next_nonce } = this.#account();
    const rows = this.#all<JobRow>("SELECT * FROM job WHERE state = 'signed' ORDER BY nonce");
    const unresolved = new Map(rows.map((row) => [BigInt(row.nonce), decodeVoucher(row.voucher).maxPrice]));
    return { charged: BigInt(charged), exposure: BigInt(exposure), nextNonce: BigInt(next_nonce), unresolved };
  }

  #keep({ charged, exposure, nextNonce }: CapLedger): void {
    const change = "UPDATE account SET charged = ?, exposure = ?, next_nonce = ?";
    this.#run(change, String(charged), String(exposure), nextNonce);
  }

  #account(): Account {
    return this.#one<Account>("SELECT * FROM account")!;
  }

  #hasExpired(expiry: bigint): boolean {
    return expiry <= BigInt(this.#clock());
  }

  #refuseLiar(): void {
    const { lie } = this.#account();
    if (lie !== null) throw liar(lie);
  }

  /** Does what believes an operator, and remembers where it was caught. */
  #believing<T>(work: () => T): T {
    try {
      return this.#transaction(work);
    } catch (error) {
      if (!(error instanceof Lie)) throw error;
      const note = "UPDATE account SET lie = ?, evidence = ? WHERE lie IS NULL";
      this.#transaction(() => this.#run(note, error.message, error.evidence ?? null));
      throw liar(error.message);
    }
  }

  /** All of it is on the disk when this returns, or none of it when it throws. */
  #transaction<T>(work: () => T): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #row(id: Uint8Array): JobRow | undefined {
    return this.#one<JobRow>("SELECT * FROM job WHERE id = ?", id);
  }

  #one<T>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#database.prepare(sql).get(...values) as T | undefined;
  }

  #all<T>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#database.prepare(sql).all(...values) as T[];
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }
}

function liar(what: string): PaymentError {
  const message = `The operator cannot be trusted: ${what}. Nothing more is signed for this channel.`;
  return new PaymentError("operatorLied", message, { lie: what });
}
