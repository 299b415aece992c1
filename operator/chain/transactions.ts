import { setTimeout as sleep } from "node:timers/promises";
import { type Address, type Hex, keccak256, type LocalAccount, type PublicClient, type TransactionReceipt } from "viem";
import {
  explainRevert,
  isRevert,
  TransactionFailed,
  TransactionRefused,
  TransactionUnknown,
} from "./transactions/transaction-errors.ts";
import { type Attempt, type JournalledTransaction, TransactionJournal } from "./transactions/transaction-journal.ts";

export interface SenderOptions {
  client: PublicClient;
  account: LocalAccount;
  /** SQLite file of this account on this chain. */
  file: string;
  /** Blocks that a receipt needs, its own counted. Default 1. */
  confirmations?: number;
  /** Milliseconds between looks at a pending transaction. Default 2,000. */
  interval?: number;
  /** Milliseconds without a receipt after which the fee is raised. Default 60,000. */
  bumpAfter?: number;
  /** The most that is ever offered for a unit of gas, in wei. Default 500 gwei. */
  maxFeePerGas?: bigint;
}

export interface Call {
  /** What people see: "Posting batch 7". */
  label: string;
  to: Address;
  data: Hex;
  /** In wei of the chain's coin. */
  value?: bigint;
  /** Name of the intent. The same key is never sent twice, not by another process later either. */
  key?: string;
}

interface WaitOptions {
  /** Milliseconds after which {@link TransactionUnknown} is thrown; for ever unless given. */
  timeout?: number;
  signal?: AbortSignal;
}

/** A node that has answered so has not taken the transaction, and no other would. */
const NEVER_TAKEN = /insufficient funds|enough funds|intrinsic gas too low|exceeds block gas limit|gas limit too high/i;
/** In per mille: nodes ask for 10 % more to replace a transaction, some for 12.5 %. */
const BUMP = 1_130n;

/**
 * Sends the transactions of one account, one nonce each. A transaction is on the disk before any node hears of it and
 * stays unknown until a receipt or the account's nonce says otherwise; while it waits, its fee rises and its nonce stays.
 */
export class TransactionSender {
  readonly address: Address;
  readonly #options: Required<SenderOptions>;
  readonly #journal: TransactionJournal;
  /** What this process has given to a node; anything else may have been cut short by the end of another process. */
  readonly #given = new Set<Hex>();
  #sending: Promise<unknown> = Promise.resolve();

  /** @throws {SignerBusy} When another process sends for this account. */
  constructor(options: SenderOptions) {
    const defaults = { confirmations: 1, interval: 2_000, bumpAfter: 60_000, maxFeePerGas: 500n * 10n ** 9n };
    this.#options = { ...defaults, ...options };
    this.address = options.account.address;
    this.#journal = new TransactionJournal(options.file);
  }

  /** What was sent, by this process or an earlier one, and is not settled: to be waited for after a start. */
  pending(): JournalledTransaction[] {
    return this.#journal.pending();
  }

  /**
   * Signs, writes down and sends, in order of the calls. Whether a node took it is for {@link wait} to find out.
   *
   * @returns The transaction's number in the journal; the earlier one's, when the key is known.
   * @throws {TransactionRefused} When the call reverts, or cannot be paid for: nothing was sent.
   */
  send(call: Call): Promise<number> {
    const sent = this.#sending.then(() => this.#send(call));
    this.#sending = sent.catch(() => undefined);
    return sent;
  }

  /**
   * Waits until a transaction is settled, sending it again and raising its fee as needed.
   *
   * @throws {TransactionFailed} When it was mined and failed, or another transaction took its nonce.
   * @throws {TransactionUnknown} When the time is over; it may still be mined.
   */
  async wait(
    id: number,
    { timeout = Number.POSITIVE_INFINITY, signal }: WaitOptions = {},
  ): Promise<TransactionReceipt> {
    const { interval, client } = this.#options;
    const deadline = performance.now() + timeout;
    let takenSince: bigint | undefined;
    for (;;) {
      signal?.throwIfAborted();
      const transaction = this.#journal.get(id);
      if (!transaction) throw new Error(`No transaction ${id} is in the journal.`);
      const { label, state, nonce } = transaction;
      if (state === "refused") throw new TransactionRefused(label, "no node took it");
      const attempts = this.#journal.attempts(id);
      try {
        const receipt = await this.#receiptOf(attempts);
        const block = await client.getBlockNumber({ cacheTime: 0 });
        if (receipt) {
          takenSince = undefined;
          if (block - receipt.blockNumber + 1n >= BigInt(this.#options.confirmations)) {
            return this.#settle(transaction, receipt);
          }
        } else {
          const counted = await client.getTransactionCount({ address: this.address, blockTag: "latest" });
          if (counted > nonce) {
            // The receipt may lag behind the nonce, on another machine behind the same address; a stranger's stays.
            takenSince ??= block;
            if (block > takenSince + BigInt(this.#options.confirmations)) {
              this.#journal.settle(id, "replaced");
              throw new TransactionFailed(label, attempts[0].hash, `another transaction took nonce ${nonce}`);
            }
          } else {
            takenSince = undefined;
            if (counted < nonce) await this.#recall(counted);
            await this.#nurse(transaction, attempts[0]);
          }
        }
      } catch (error) {
        if (error instanceof TransactionFailed || isDiskError(error)) throw error;
        // A node that does not answer says nothing about the transaction.
      }
      if (performance.now() + interval > deadline) throw new TransactionUnknown(label, attempts[0].hash);
      await sleep(interval, undefined, { signal });
    }
  }

  /** {@link send} and {@link wait}. */
  async transact(call: Call, options?: WaitOptions): Promise<TransactionReceipt> {
    return this.wait(await this.send(call), options);
  }

  /** Lets go of the account. What is pending stays in the journal. */
  close(): void {
    this.#journal.close();
  }

  async #send({ label, to, data, value = 0n, key = undefined }: Call): Promise<number> {
    const known = key === undefined ? undefined : this.#journal.byKey(key);
    if (known && known.state !== "refused") return known.id;
    const { client, account } = this.#options;
    const counted = await client.getTransactionCount({ address: this.address, blockTag: "pending" });
    if (this.#journal.nextNonce() > counted) await this.#recall(counted);
    let estimate: bigint;
    try {
      estimate = await client.estimateGas({ account: account.address, to, data, value });
    } catch (error) {
      if (!isRevert(error)) throw error;
      const { text, revert } = explainRevert(error);
      throw new TransactionRefused(label, text, revert, error);
    }
    const nonce = Math.max(counted, this.#journal.nextNonce());
    // A fifth more: what the estimate ran on may change until the block.
    const call = { key: key ?? null, label, nonce, to, data, value, gas: (estimate * 6n) / 5n };
    const attempt = await this.#sign(call, await this.#fees());
    const id = this.#journal.add(call, attempt);
    const refusal = await this.#give(attempt);
    if (refusal === undefined) return id;
    this.#journal.settle(id, "refused");
    throw new TransactionRefused(label, refusal);
  }

  /**
   * Gives anew what was mined and is not any more, from a nonce on: a re-org deeper than the confirmations took it back,
   * and nothing with a higher nonce can be mined before it.
   */
  async #recall(nonce: number): Promise<void> {
    for (const { id } of this.#journal.minedFrom(nonce)) {
      const attempts = this.#journal.attempts(id);
      if (await this.#receiptOf(attempts)) continue;
      this.#journal.settle(id, "pending");
      await this.#give(attempts[0]);
    }
  }

  /** Sends again what may never have arrived, and raises the fee of what has waited long. */
  async #nurse(transaction: JournalledTransaction, newest: Attempt): Promise<void> {
    if (!this.#given.has(newest.hash)) {
      await this.#give(newest);
      return;
    }
    const age = Date.now() - newest.signedAt;
    // Less than none when the clock was set back since: nobody knows how long it has waited.
    if (age >= 0 && age < this.#options.bumpAfter) return;
    const now = await this.#fees();
    const raised = (old: bigint, current: bigint) => max((old * BUMP) / 1_000n + 1n, current);
    const fees = {
      maxFeePerGas: raised(newest.maxFeePerGas, now.maxFeePerGas),
      maxPriorityFeePerGas: raised(newest.maxPriorityFeePerGas, now.maxPriorityFeePerGas),
    };
    if (fees.maxFeePerGas > this.#options.maxFeePerGas) {
      // At the ceiling: all that is left is to remind the nodes.
      await this.#give(newest);
      return;
    }
    const attempt = await this.#sign(transaction, fees);
    this.#journal.addAttempt(transaction.id, attempt);
    await this.#give(attempt);
  }

  async #fees(): Promise<{ maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }> {
    const { client, maxFeePerGas: ceiling } = this.#options;
    const fees = await client.estimateFeesPerGas();
    const maxFeePerGas = fees.maxFeePerGas < ceiling ? fees.maxFeePerGas : ceiling;
    const tip = fees.maxPriorityFeePerGas;
    return { maxFeePerGas, maxPriorityFeePerGas: tip < maxFeePerGas ? tip : maxFeePerGas };
  }

  async #sign(
    { nonce, to, data, value, gas }: Pick<JournalledTransaction, "nonce" | "to" | "data" | "value" | "gas">,
    fees: { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint },
  ): Promise<Attempt> {
    const { account, client } = this.#options;
    const chainId = client.chain?.id ?? (await client.getChainId());
    const raw = await account.signTransaction({ type: "eip1559", chainId, nonce, to, data, value, gas, ...fees });
    return { hash: keccak256(raw), raw, ...fees, signedAt: Date.now() };
  }

  /**
   * Hands a signed transaction to the node.
   *
   * @returns Why no node would take it; undefined when it was taken, or when that is unknown.
   */
  async #give({ hash, raw }: Attempt): Promise<string | undefined> {
    try {
      await this.#options.client.sendRawTransaction({ serializedTransaction: raw });
      this.#given.add(hash);
    } catch (error) {
      const { text } = explainRevert(error);
      if (NEVER_TAKEN.test(text)) return text;
      // Known already, a nonce too low, a price too low to replace: there is something for wait() to find. A node that
      // has not answered may have taken it; it is given again.
      if (/known|nonce|underpriced|imported/i.test(text)) this.#given.add(hash);
    }
    return undefined;
  }

  async #receiptOf(attempts: readonly Attempt[]): Promise<TransactionReceipt | undefined> {
    let failure: unknown;
    for (const { hash } of attempts) {
      try {
        return await this.#options.client.getTransactionReceipt({ hash });
      } catch (error) {
        if ((error as Error).name !== "TransactionReceiptNotFoundError") failure = error;
      }
    }
    // Not knowing of one attempt is not knowing at all.
    if (failure) throw failure;
    return undefined;
  }

  #settle({ id, label }: JournalledTransaction, receipt: TransactionReceipt): TransactionReceipt {
    const succeeded = receipt.status === "success";
    this.#journal.settle(id, succeeded ? "succeeded" : "reverted", receipt.transactionHash);
    if (!succeeded) throw new TransactionFailed(label, receipt.transactionHash, "it reverted when it was mined");
    return receipt;
  }
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** The journal could not be written: going on would send what nobody remembers. */
function isDiskError(error: unknown): boolean {
  return (error as { code?: string }).code === "ERR_SQLITE_ERROR";
}
