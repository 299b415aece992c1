import { sameBytes, toHex } from "../../protocol/bytes.ts";
import { type CapLedger, confirmJob } from "../../protocol/cap-ledger.ts";
import type { SignedVoucher } from "../../protocol/voucher.ts";
import { decodeVoucher, encodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import { PaymentError } from "../payment-error.ts";
import type { QuotedReceipt, QuotedStatement } from "../quote.ts";
import { checkReceipt, Lie, readReceipt } from "./check-receipt.ts";
import type { LedgerFile } from "./ledger-file.ts";
import { type JobRow, signedFor } from "./ledger-jobs.ts";

interface IntakeOptions {
  file: LedgerFile;
  channel: number;
  /** Address of the session key. */
  sessionKey: string;
  /** Domain separator of the vouchers, 32 bytes. */
  separator: Uint8Array;
  /** Seconds since 1970. */
  clock: () => number;
}

/**
 * Takes an operator's receipts and statements into a ledger, after holding them against what the payer has signed and
 * against each other. Whoever calls this is in a transaction of the ledger's file.
 */
export class ReceiptIntake {
  readonly #options: IntakeOptions;
  readonly #file: LedgerFile;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#file = options.file;
  }

  /**
   * Checks a receipt and counts it; taking it again changes nothing. Gives its price in wei of OPEN.
   *
   * @throws {Lie} When it cannot be true.
   */
  take(given: QuotedReceipt): bigint {
    const { body, position, charged } = given;
    const read = readReceipt(body, this.#options.separator);
    const { voucher, price } = read.receipt;
    let row = this.#file.job(read.id);
    if (row?.state === "charged") {
      const isSame = sameBytes(row.receipt!, body) && row.position === position && charged <= BigInt(row.charged!);
      if (!isSame) throw new Lie(`Job ${toHex(read.id)} has two receipts, or one in two places`, body);
      return price;
    }
    checkReceipt(read, this.#options, row && signedFor(row), body);
    if (!row) {
      this.#adopt(read.id, voucher, body);
      row = this.#file.job(read.id)!;
    }
    const caps = this.#file.caps();
    this.#checkPlace(given, price, caps.exposure);
    const { nonce, maxPrice } = voucher;
    const open: CapLedger = { ...caps, unresolved: new Map(caps.unresolved).set(nonce, maxPrice) };
    this.#file.keepCaps(confirmJob(open, nonce, price));
    this.#file.run(
      "UPDATE job SET state = 'charged', reason = NULL, price = ?, charged = ?, position = ?, receipt = ? WHERE nonce = ?",
      String(price),
      String(charged),
      position,
      body,
      row.nonce,
    );
    this.#advance();
    return price;
  }

  /**
   * Checks each receipt of a statement, and that their sum is what it says was charged. Jobs whose vouchers have expired
   * and that cannot be in flight any more are forgotten.
   *
   * @throws {Lie} When it cannot be true.
   */
  takeStatement(statement: QuotedStatement): void {
    const { since, since_charged } = this.#file.account();
    let total = BigInt(since_charged);
    let last = 0;
    for (const given of statement.receipts) {
      if (given.position <= last) throw new Lie("The receipts of a statement are out of order", given.body);
      last = given.position;
      const price = this.take(given);
      // What another process has taken meanwhile is in the total already.
      if (given.position <= since) continue;
      if (given.charged > total + price) {
        const message = `With receipt ${given.position}, ${total + price} wei are charged, not ${given.charged}`;
        throw new Lie(message, given.body);
      }
      // It is less where receipts of a batch that fell were withdrawn.
      total = given.charged;
    }
    if (!statement.isComplete) return;
    // Less is a statement from before the newest receipts here, and claims nothing.
    if (statement.charged > total) {
      throw new Lie(`${statement.charged} wei are said to be charged; receipts show ${total}`);
    }
    this.#forgetExpired(statement.reserved);
  }

  /**
   * What a receipt says was charged in all is covered by what comes after it, and by the highest cap. That it is less
   * than what came before is no lie: receipts of a batch that fell may have been withdrawn.
   */
  #checkPlace({ position, charged, body }: QuotedReceipt, price: bigint, exposure: bigint): void {
    const after = this.#file.one<JobRow>("SELECT * FROM job WHERE position > ? ORDER BY position", position);
    const most = after ? BigInt(after.charged!) - BigInt(after.price!) : exposure;
    const isTaken = this.#file.one("SELECT 1 FROM job WHERE position = ?", position) !== undefined;
    if (isTaken || charged < price || charged > most) {
      throw new Lie(`Receipt ${position} says that ${charged} wei are charged; there can be ${most} at most`, body);
    }
  }

  /** Moves on the place up to which all receipts are here: none adds more than its price. */
  #advance(): void {
    const { since, since_charged } = this.#file.account();
    let [place, total] = [since, BigInt(since_charged)];
    const rows = this.#file.all<JobRow>("SELECT * FROM job WHERE position > ? ORDER BY position", since);
    for (const { position, price, charged } of rows) {
      if (BigInt(charged!) > total + BigInt(price!)) break;
      [place, total] = [position!, BigInt(charged!)];
    }
    this.#file.run("UPDATE account SET since = ?, since_charged = ?", place, String(total));
  }

  /** A voucher that this key signed with another file, which was lost or lies elsewhere. */
  #adopt(id: Uint8Array, voucher: SignedVoucher, body: Uint8Array): void {
    const other = this.#file.one<JobRow>("SELECT * FROM job WHERE nonce = ?", voucher.nonce);
    if (other)
      throw new PaymentError("foreignLedger", "Another ledger signs for this channel: its processes must share one.");
    if (voucher.nonce >= BigInt(Number.MAX_SAFE_INTEGER))
      throw new Lie("A receipt has a nonce never signed here", body);
    this.#file.run(
      "INSERT INTO job (nonce, id, state, voucher, signed_at) VALUES (?, ?, 'signed', ?, ?)",
      voucher.nonce,
      id,
      encodeVoucher(voucher),
      this.#options.clock(),
    );
    const caps = this.#file.caps();
    const nextNonce = voucher.nonce >= caps.nextNonce ? voucher.nonce + 1n : caps.nextNonce;
    const exposure = voucher.cap > caps.exposure ? voucher.cap : caps.exposure;
    this.#file.keepCaps({ ...caps, nextNonce, exposure });
  }

  /** An expired voucher cannot be admitted any more, and one in flight has its price reserved. */
  #forgetExpired(reserved: bigint): void {
    const now = BigInt(this.#options.clock());
    for (const { id, voucher } of this.#file.unresolved()) {
      const { expiry, maxPrice } = decodeVoucher(voucher);
      if (expiry <= now && maxPrice > reserved) this.#file.forget(id, "its voucher expired");
    }
  }
}
