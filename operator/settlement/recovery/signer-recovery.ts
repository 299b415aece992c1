import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Hex } from "../../protocol/bytes.ts";
import { recoverSigner, SIGNATURE_BYTES } from "../../protocol/signature.ts";
import { packSigned, type SignedDigest, unpackSigners } from "./packing.ts";

interface Waiting extends SignedDigest {
  resolve: (signer: Hex | undefined) => void;
}

/** Signatures in one message to the thread at most: the first of them waits no longer than these take. */
const GROUP = 64;

/**
 * Recovers signers in another thread where there is a processor for it. Recovering is a third of what an admission
 * costs (0.2 ms), and needs nothing of the books.
 *
 * Those that come in within one turn of the event loop travel together. One that comes alone is recovered here at once:
 * sending it would take longer than it takes. If the thread breaks, everything is recovered here.
 */
export class SignerRecovery {
  #waiting: Waiting[] = [];
  #isScheduled = false;
  #worker: Worker | undefined;
  /** Groups at the thread, in the order in which it answers. */
  readonly #sent: Waiting[][] = [];
  #isAlone: boolean;

  /** @param processors What this process may run on. Default: what the system says. */
  constructor(processors: number = availableParallelism()) {
    this.#isAlone = processors < 2;
  }

  /** Whether the thread runs. */
  get isThreaded(): boolean {
    return this.#worker !== undefined && !this.#isAlone;
  }

  /** As {@link recoverSigner}: undefined when the signature is none. Never rejects. */
  recover(digest: Uint8Array, signature: Uint8Array): Promise<Hex | undefined> {
    if (this.#isAlone || signature.length !== SIGNATURE_BYTES) return Promise.resolve(recoverSigner(digest, signature));
    return new Promise((resolve) => {
      this.#waiting.push({ digest, signature, resolve });
      if (this.#isScheduled) return;
      this.#isScheduled = true;
      setImmediate(() => this.#take());
    });
  }

  #take(): void {
    this.#isScheduled = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length < 2 && this.#sent.length === 0) {
      here(waiting);
      return;
    }
    for (let from = 0; from < waiting.length; from += GROUP) this.#send(waiting.slice(from, from + GROUP));
  }

  #send(group: Waiting[]): void {
    if (this.#isAlone) {
      here(group);
      return;
    }
    this.#worker ??= this.#start();
    // Whoever waits for an admission keeps the process running; an idle thread does not.
    this.#worker.ref();
    this.#sent.push(group);
    const message = packSigned(group);
    this.#worker.postMessage(message, [message.buffer]);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./recovery-thread.ts", import.meta.url));
    worker.on("message", (packed: Uint8Array) => {
      const signers = unpackSigners(packed);
      for (const [i, { resolve }] of this.#sent.shift()!.entries()) resolve(signers[i]);
      if (this.#sent.length === 0) worker.unref();
    });
    const onEnd = () => {
      this.#isAlone = true;
      for (const group of this.#sent.splice(0)) here(group);
    };
    worker.on("error", onEnd).on("exit", onEnd);
    return worker;
  }
}

/** The one of this process: its thread is started with the first group, and stays. */
export const signerRecovery = new SignerRecovery();

function here(group: readonly Waiting[]): void {
  for (const { digest, signature, resolve } of group) resolve(recoverSigner(digest, signature));
}
