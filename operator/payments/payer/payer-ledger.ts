import { randomBytes } from "node:crypto";
import { formatEther } from "viem";
import { NONCE_WINDOW } from "../../protocol/bounds.ts";
import { fromHex, type Hex, sameBytes, toHex } from "../../protocol/bytes.ts";
import { reserveCap } from "../../protocol/cap-ledger.ts";
import { keccak } from "../../protocol/keccak.ts";
import type { Receipt } from "../../protocol/receipt.ts";
import { saltedHash } from "../../protocol/salted-hash.ts";
import { addressOf, signDigest } from "../../protocol/signature.ts";
import { domainSeparator, type VoucherDomain, voucherDigest } from "../../protocol/voucher.ts";
import { decodeVoucher, encodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import { PaymentError } from "../payment-error.ts";
import type { Quote, QuotedReceipt, QuotedStatement } from "../quote.ts";
import { decodePaymentSignature, encodePaymentSignature } from "../x402/payment-signature.ts";
import { Lie, readReceipt } from "./check-receipt.ts";
import { KEPT_EXCHANGES, keepRequest, keepResponse } from "./kept-exchanges.ts";
import { LedgerFile } from "./ledger-file.ts";
import { type JobRow, jobOf, type PayerJob } from "./ledger-jobs.ts";
import { ReceiptIntake } from "./receipt-intake.ts";

export interface PayerLedgerOptions {
  /** The database, one for each channel. Processes that pay from one channel share it. */
  file: string;
  channel: number;
  /** The contract that holds the channel. */
  domain: VoucherDomain;
  /** The session key, 32 bytes. */
  privateKey: Uint8Array;
  /**
   * Questions and answers that are kept, of the newest jobs, so that these can be verified whatever the operator shows
   * of them. Default 256; 0 keeps none, and lets go of those that are here.
   */
  keepExchanges?: number;
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

/** Seconds after which a voucher that is not with the operator is not on its way to it any more. */
const ON_ITS_WAY = 30;
/** Vouchers after which one that is still unresolved is asked for, whoever waits for it: with 256, no more are signed. */
const HOLDS_UP = Number(NONCE_WINDOW / 2n);

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
  readonly #exchanges: number;
  readonly #clock: () => number;
  readonly #file: LedgerFile;
  readonly #intake: ReceiptIntake;

  /** @throws {PaymentError} `foreignLedger`. */
  constructor(options: PayerLedgerOptions) {
    this.channel = options.channel;
    this.domain = options.domain;
    this.sessionKey = addressOf(options.privateKey);
    this.#separator = domainSeparator(options.domain);
    this.#privateKey = options.privateKey;
    this.#exchanges = options.keepExchanges ?? KEPT_EXCHANGES;
    this.#clock = options.clock ?? (() => Math.floor(Date.now() / 1_000));
    const identity = { channel: this.channel, sessionKey: this.sessionKey, separator: this.#separator };
    this.#file = new LedgerFile(options.file, identity);
    this.#intake = new ReceiptIntake({ ...identity, file: this.#file, clock: this.#clock });
  }

  close(): void {
    this.#file.close();
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
    return this.#file.transaction(() => {
      this.#refuseLiar();
      const { terms, maxPrice, voucherLife } = quote;
      const reservation = reserveCap(this.#file.caps(), maxPrice);
      if (!reservation) {
        const message =
          "A job of 256 vouchers ago is unresolved: wait for its answer, for half a minute where the operator never got it, or until its voucher has expired.";
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
      this.#file.run(
        `INSERT INTO job (nonce, id, state, voucher, signed_at, sent_at, question, header, job_price, prompt_price,
          completion_price) VALUES (?, ?, 'signed', ?, ?, ?, ?, ?, ?, ?, ?)`,
        nonce,
        digest,
        encodeVoucher({ ...unsigned, signature }),
        this.#clock(),
        this.#clock(),
        keccak(request),
        header,
        String(terms.pricePerJob),
        String(terms.pricePerPromptToken),
        String(terms.pricePerCompletionToken),
      );
      this.#file.keepCaps(ledger);
      keepRequest(this.#file, Number(nonce), request, this.#exchanges);
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
      this.#intake.take(charge);
      return jobOf(this.#file.job(read.id)!);
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
      const row = this.#file.job(fromHex(jobId));
      if (!row?.receipt || row.header === null) return;
      const { receipt } = readReceipt(row.receipt, this.#separator);
      const { salt } = decodePaymentSignature(row.header, this.domain);
      const answer = answerOf(receipt);
      if (answer && sameBytes(saltedHash(fromHex(salt), answer), receipt.responseHash)) {
        keepResponse(this.#file, row.nonce, answer);
        return;
      }
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
    this.#believing(() => this.#intake.takeStatement(statement));
  }

  /**
   * Forgets a job that the operator did not take or gave up. Should it be charged all the same, its receipt is taken
   * when it is shown; the exposure is not raised by that.
   */
  forget(jobId: Hex, reason: string): void {
    this.#file.transaction(() => this.#file.forget(fromHex(jobId), reason));
  }

  /** Notes that nobody waits for a job any more, though it may be served: its fate is unknown, or the asker left. */
  lose(jobId: Hex, loss: "unknown" | "left"): void {
    // A statement may have shown its receipt meanwhile: the answer has not come all the same.
    const change = "UPDATE job SET loss = ?, sent_at = ? WHERE id = ? AND state IN ('signed', 'charged')";
    this.#file.transaction(() => this.#file.run(change, loss, this.#clock(), fromHex(jobId)));
  }

  /** Notes that the operator says it never got a job. That is believed, as in {@link forget}, of one sent a while ago. */
  disown(jobId: Hex): void {
    this.#file.transaction(() => {
      const row = this.#file.job(fromHex(jobId));
      if (!row || (row.sent_at ?? row.signed_at) + ON_ITS_WAY > this.#clock()) return;
      this.#file.forget(row.id, "the operator never got it");
    });
  }

  /**
   * The voucher with which the same request was sent before, when its answer did not come: sent again it is the same
   * job, paid once, also where its receipt is here by now. One caller gets it.
   *
   * @param evenLeft Also what the asker left: for a request that is known to be made again.
   */
  claimLost(request: Uint8Array, evenLeft: boolean): SignedJob | undefined {
    return this.#file.transaction(() => {
      this.#refuseLiar();
      const losses = evenLeft ? "'unknown', 'left'" : "'unknown'";
      const found = this.#file.one<JobRow>(
        `UPDATE job SET loss = NULL, sent_at = ? WHERE nonce = (SELECT min(nonce) FROM job
          WHERE question = ? AND loss IN (${losses})) RETURNING *`,
        this.#clock(),
        keccak(request),
      );
      if (!found) return undefined;
      const { nonce, maxPrice, cap, expiry } = decodeVoucher(found.voucher);
      return { jobId: toHex(found.id), nonce, maxPrice, cap, expiry, header: found.header! };
    });
  }

  /**
   * Jobs of which nothing is known and for which nobody waits, whose vouchers have expired, or that others will soon have
   * to wait for: up to 256, the oldest first.
   */
  adrift(): PayerJob[] {
    const now = BigInt(this.#clock());
    const { next_nonce } = this.#file.account();
    return this.#file
      .unresolved()
      .filter(
        ({ loss, nonce, voucher }) =>
          loss !== null || next_nonce - nonce >= HOLDS_UP || decodeVoucher(voucher).expiry <= now,
      )
      .map(jobOf);
  }

  job(jobId: Hex): PayerJob | undefined {
    const row = this.#file.job(fromHex(jobId));
    return row && jobOf(row);
  }

  /** What shows the operator, and whoever verifies the job, that the request is known: question, answer and trace. */
  saltOf(jobId: Hex): Hex | undefined {
    const header = this.#file.job(fromHex(jobId))?.header;
    return header ? decodePaymentSignature(header, this.domain).salt : undefined;
  }

  /** The newest jobs, newest first. */
  history(limit = 100): PayerJob[] {
    return this.#file.all<JobRow>("SELECT * FROM job ORDER BY nonce DESC LIMIT ?", limit).map(jobOf);
  }

  balance(): PayerBalance {
    const { charged, exposure, unresolved } = this.#file.caps();
    const prices = [...unresolved.values()];
    return { charged, exposure, jobs: prices.length, unresolved: prices.reduce((sum, price) => sum + price, 0n) };
  }

  /** Position of the last receipt up to which all of the channel's are here: what to ask statements from. */
  get since(): bigint {
    return BigInt(this.#file.account().since);
  }

  #refuseLiar(): void {
    const { lie } = this.#file.account();
    if (lie !== null) throw liar(lie);
  }

  /** Does what believes an operator, and remembers where it was caught. */
  #believing<T>(work: () => T): T {
    try {
      return this.#file.transaction(work);
    } catch (error) {
      if (!(error instanceof Lie)) throw error;
      const note = "UPDATE account SET lie = ?, evidence = ? WHERE lie IS NULL";
      this.#file.transaction(() => this.#file.run(note, error.message, error.evidence ?? null));
      throw liar(error.message);
    }
  }
}

function liar(what: string): PaymentError {
  const message = `The operator cannot be trusted: ${what}. Nothing more is signed for this channel.`;
  return new PaymentError("operatorLied", message, { lie: what });
}
