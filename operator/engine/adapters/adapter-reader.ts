import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";

/** Reads adapter folders away from the thread that computes steps. */
export interface AdapterReader {
  /** @throws EngineError `adapter_failed` where the files are at fault, `failed` where the reader is */
  read(folder: string): Promise<LoadedAdapter>;
  close(): Promise<void>;
}

/** What the reading thread answers. */
export type ReaderAnswer = { id: number } & ({ adapter: LoadedAdapter } | { error: string });

/** An `AdapterReader` on a thread of its own; weights come back by transfer, not by copy. */
export class ThreadAdapterReader implements AdapterReader {
  private readonly config: ModelConfig;
  private readonly pending = new Map<number, { resolve(adapter: LoadedAdapter): void; reject(error: Error): void }>();
  private worker: Worker | undefined;
  private nextId = 0;

  constructor(config: ModelConfig) {
    this.config = config;
  }

  read(folder: string): Promise<LoadedAdapter> {
    this.worker ??= this.start();
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const id = this.nextId++;
      this.pending.set(id, { resolve, reject });
      worker.postMessage({ id, folder });
    });
  }

  async close(): Promise<void> {
    await this.worker?.terminate();
  }

  /** A thread that dies (of memory, say) fails what it was reading; the next read starts another. */
  private start(): Worker {
    const worker = new Worker(new URL("./reader-thread.ts", import.meta.url), { workerData: { config: this.config } });
    worker.on("message", (answer: ReaderAnswer) => this.settle(answer));
    worker.on("error", (error) => this.fail(worker, `the adapter reader broke: ${error.message}`));
    worker.on("exit", () => this.fail(worker, "the adapter reader has ended"));
    return worker;
  }

  private settle(answer: ReaderAnswer): void {
    const waiting = this.pending.get(answer.id);
    this.pending.delete(answer.id);
    if ("adapter" in answer) waiting?.resolve(answer.adapter);
    else waiting?.reject(new EngineError("adapter_failed", answer.error));
  }

  private fail(worker: Worker, message: string): void {
    if (worker !== this.worker) return;
    this.worker = undefined;
    for (const { reject } of this.pending.values()) reject(new EngineError("failed", message));
    this.pending.clear();
  }
}

/** What the files of an adapter folder look like from outside. */
interface FolderState {
  /** Changes whenever the files may have changed. */
  readonly stamp: string;
  /** Size of the weights' file. */
  readonly bytes: number;
}

/**
 * Looks at an adapter folder without reading it: inode, size, and both times in nanoseconds (the change time cannot be
 * set back by a program).
 *
 * @throws EngineError `adapter_failed` where a file is missing
 */
export async function lookAtFolder(folder: string): Promise<FolderState> {
  const names = ["adapter_config.json", "adapter_model.safetensors"];
  try {
    const stats = await Promise.all(names.map((name) => stat(join(folder, name), { bigint: true })));
    const parts = stats.map((file) => `${file.dev}:${file.ino}:${file.size}:${file.mtimeNs}:${file.ctimeNs}`);
    return { stamp: parts.join("|"), bytes: Number(stats[1].size) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError("adapter_failed", `${folder}: cannot be read as an adapter folder (${reason})`);
  }
}
