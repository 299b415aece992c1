import { Worker } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import type { GrammarSession } from "./grammar.ts";
import { byteLevelAlphabet, type TokenBytes } from "./token-bytes.ts";

/** Shared memory of a session, in 32-bit words: version of the mask, whether the answer is complete, the mask. */
export const MASK_OFFSET = 2;

export interface GrammarThreadData {
  /** Tokens by id, their bytes written in the byte-level alphabet; those that are no text are empty. */
  readonly vocabulary: readonly string[];
  readonly stopTokens: readonly number[];
}

export type GrammarCommand = { readonly id: number } & (
  | {
      readonly kind: "open";
      readonly schema: string;
      readonly strict: boolean;
      readonly shared: SharedArrayBuffer;
      readonly accepted: readonly number[];
    }
  | { readonly kind: "accept"; readonly token: number; readonly version: number }
  | { readonly kind: "close" }
);

export type GrammarReport = { readonly id: number; started?: true; opened?: true; failed?: string };

interface GrammarServiceOptions {
  readonly vocabSize: number;
  readonly tokens: TokenBytes;
  readonly stopTokens: readonly number[];
  /** Called when a session became ready for the first time, or failed. */
  readonly onChange: () => void;
  /** Longest time that compiling one schema may take, in milliseconds. Default 5,000. */
  readonly compileMs?: number;
}

/**
 * JSON schemas as token masks (XGrammar, Dong et al. 2024), on a thread of its own: compiling never blocks a step, and
 * masks are computed while the step before runs. A schema that crashes or stalls the thread fails alone; the thread is
 * started again and the other answers are taken up where they were.
 */
export class GrammarService {
  private readonly options: GrammarServiceOptions;
  private readonly sessions = new Map<number, Session>();
  private worker: Worker | undefined;
  private nextId = 0;
  private deadline: NodeJS.Timeout | undefined;

  constructor(options: GrammarServiceOptions) {
    this.options = options;
  }

  /**
   * @param schema checked text, see `checkedSchema`
   * @param strict whether members that the schema does not name are forbidden
   */
  open(schema: string, strict: boolean): GrammarSession {
    const id = this.nextId++;
    const words = MASK_OFFSET + Math.ceil(this.options.vocabSize / 32);
    const session = new Session(schema, strict, words, (command) => {
      if (command.kind === "close") this.sessions.delete(id);
      this.worker?.postMessage({ ...command, id } satisfies GrammarCommand);
    });
    this.sessions.set(id, session);
    this.worker ??= this.start();
    this.worker.postMessage({ id, ...session.openCommand() } satisfies GrammarCommand);
    return session;
  }

  async close(): Promise<void> {
    clearTimeout(this.deadline);
    const { worker } = this;
    this.worker = undefined;
    await worker?.terminate();
  }

  private start(): Worker {
    const alphabet = byteLevelAlphabet();
    const vocabulary = this.options.tokens.bytes.map((bytes) =>
      bytes.some(isControl) ? "" : Array.from(bytes, (byte) => alphabet[byte]).join(""),
    );
    const workerData: GrammarThreadData = { vocabulary, stopTokens: this.options.stopTokens };
    // The library writes its complaints, with paths of its makers' machine, to the error stream.
    const worker = new Worker(new URL("./grammar-thread.ts", import.meta.url), {
      workerData,
      stderr: true,
      stdout: true,
    });
    worker.stderr.resume();
    worker.stdout.resume();
    worker.on("message", (message: GrammarReport) => this.take(worker, message));
    worker.on("error", (error) => this.restart(worker, undefined, `the grammar thread broke: ${error.message}`));
    worker.unref();
    return worker;
  }

  private take(worker: Worker, { id, started, opened, failed }: GrammarReport): void {
    if (worker !== this.worker) return;
    clearTimeout(this.deadline);
    if (started) {
      const { compileMs = 5000 } = this.options;
      this.deadline = setTimeout(
        () => this.restart(worker, id, `takes more than ${compileMs} ms to compile`),
        compileMs,
      );
    }
    // After an abort the library's memory cannot be trusted.
    if (failed !== undefined) this.restart(worker, id, `cannot be followed (${failed})`);
    if (opened) this.options.onChange();
  }

  private restart(worker: Worker, culprit: number | undefined, reason: string): void {
    if (worker !== this.worker) return;
    clearTimeout(this.deadline);
    void worker.terminate();
    this.worker = undefined;
    const guilty = culprit === undefined ? undefined : this.sessions.get(culprit);
    if (guilty !== undefined) {
      guilty.error = new EngineError("invalid_request", `JSON schema: ${reason}`);
      this.sessions.delete(culprit!);
    }
    for (const [id, session] of this.sessions) {
      // A thread that breaks without anybody to blame breaks again: nobody is taken along a second time.
      if (culprit === undefined) {
        session.error = new EngineError("failed", reason);
        this.sessions.delete(id);
        continue;
      }
      this.worker ??= this.start();
      this.worker.postMessage({ id, ...session.openCommand() } satisfies GrammarCommand);
    }
    this.options.onChange();
  }
}

type SessionCommand = { kind: "accept"; token: number; version: number } | { kind: "close" };

class Session implements GrammarSession {
  error: EngineError | undefined;
  private readonly schema: string;
  private readonly strict: boolean;
  private readonly send: (command: SessionCommand) => void;
  private readonly accepted: number[] = [];
  private shared: Int32Array<SharedArrayBuffer>;

  constructor(schema: string, strict: boolean, words: number, send: (command: SessionCommand) => void) {
    this.schema = schema;
    this.strict = strict;
    this.send = send;
    this.shared = new Int32Array(new SharedArrayBuffer(words * 4));
  }

  get ready(): boolean {
    return this.error === undefined && Atomics.load(this.shared, 0) === this.accepted.length + 1;
  }

  get finished(): boolean {
    return this.ready && Atomics.load(this.shared, 1) === 1;
  }

  mask(): Int32Array {
    if (this.error !== undefined) throw this.error;
    if (!this.ready) throw new EngineError("failed", "a grammar's mask was asked for before it was ready");
    return this.shared.subarray(MASK_OFFSET);
  }

  accept(token: number): void {
    this.accepted.push(token);
    this.send({ kind: "accept", token, version: this.accepted.length + 1 });
  }

  close(): void {
    this.send({ kind: "close" });
  }

  openCommand() {
    // New memory: a thread that is being ended may still write into the old one.
    this.shared = new Int32Array(new SharedArrayBuffer(this.shared.byteLength));
    const { schema, strict, accepted } = this;
    return { kind: "open" as const, schema, strict, shared: this.shared.buffer, accepted: [...accepted] };
  }
}

/**
 * The library allows control characters inside strings of bounded length, which JSON does not (RFC 8259, section 7).
 * Nothing needs them but line feeds between members, which it never allows inside strings.
 */
function isControl(byte: number): boolean {
  return byte < 0x20 && byte !== 0x0a;
}
