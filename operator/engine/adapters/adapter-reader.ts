import { Worker } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { type AdapterParcel, unpackAdapter } from "./adapter-parcel.ts";
import type { ReadAdapter } from "./folder-state.ts";

/** Reads adapter folders away from the thread that computes steps. */
export interface AdapterReader {
  /**
   * @param maxBytes larger files are refused without being read
   * @param spare memory that nobody uses any more, to read into where it has the right size; it is given away
   * @throws EngineError `adapter_failed` where the files are at fault, `failed` where the reader is
   */
  read(folder: string, maxBytes?: number, spare?: ArrayBuffer): Promise<ReadAdapter>;
  close(): Promise<void>;
}

/** What the reading thread starts with. */
export interface ReaderSettings {
  readonly config: ModelConfig;
  readonly hashFile: string | undefined;
}

/** What the reading thread answers. */
export type ReaderAnswer = { id: number } & (
  | { parcel: AdapterParcel }
  | { error: string; details: EngineError["details"] }
);

/** What it is asked. */
export interface ReaderQuestion {
  readonly id: number;
  readonly folder: string;
  readonly maxBytes: number;
  readonly spare: ArrayBuffer | undefined;
}

/** An `AdapterReader` on a thread of its own; weights come back by transfer, not by copy. */
export class ThreadAdapterReader implements AdapterReader {
  private readonly settings: ReaderSettings;
  private readonly pending = new Map<number, { resolve(adapter: ReadAdapter): void; reject(error: Error): void }>();
  private worker: Worker | undefined;
  private nextId = 0;

  /** @param hashFile where content hashes are kept over restarts; without it each start hashes again */
  constructor(config: ModelConfig, hashFile?: string) {
    this.settings = { config, hashFile };
  }

  read(folder: string, maxBytes = Number.POSITIVE_INFINITY, spare?: ArrayBuffer): Promise<ReadAdapter> {
    this.worker ??= this.start();
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const id = this.nextId++;
      this.pending.set(id, { resolve, reject });
      worker.postMessage({ id, folder, maxBytes, spare } satisfies ReaderQuestion, spare ? [spare] : []);
    });
  }

  async close(): Promise<void> {
    await this.worker?.terminate();
  }

  /** A thread that dies (of memory, say) fails what it was reading; the next read starts another. */
  private start(): Worker {
    const worker = new Worker(new URL("./reader-thread.ts", import.meta.url), { workerData: this.settings });
    worker.on("message", (answer: ReaderAnswer) => this.settle(answer));
    worker.on("error", (error) => this.fail(worker, `the adapter reader broke: ${error.message}`));
    worker.on("exit", () => this.fail(worker, "the adapter reader has ended"));
    return worker;
  }

  private settle(answer: ReaderAnswer): void {
    const waiting = this.pending.get(answer.id);
    this.pending.delete(answer.id);
    if ("parcel" in answer) waiting?.resolve(unpackAdapter(answer.parcel));
    else waiting?.reject(new EngineError("adapter_failed", answer.error, answer.details));
  }

  private fail(worker: Worker, message: string): void {
    if (worker !== this.worker) return;
    this.worker = undefined;
    for (const { reject } of this.pending.values()) reject(new EngineError("failed", message));
    this.pending.clear();
  }
}
