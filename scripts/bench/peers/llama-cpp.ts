/**
 * llama.cpp through node-llama-cpp, installed in a folder of its own outside the lock. Steps are driven through the
 * addon's own batch interface, below its queue and sampler, so that nothing but `llama_decode` is measured.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { benchCache } from "../shapes.ts";

/** The release measured against; its llama.cpp is built in. */
export const PEER_VERSION = "3.22.1";

const PLATFORMS: Readonly<Record<string, string>> = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "darwin-arm64": "mac-arm64-metal",
  "darwin-x64": "mac-x64",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

/** What is used of the addon's `AddonContext`. */
interface AddonContext {
  initBatch(size: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logits: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(logit: number, sampler: unknown): Promise<number>;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
}

interface PeerLibraryContext {
  readonly _ctx: AddonContext;
  dispose(): Promise<void>;
}

interface PeerLibraryModel {
  readonly _model: unknown;
  createContext(options: object): Promise<PeerLibraryContext>;
  dispose(): Promise<void>;
}

interface PeerLibrary {
  loadModel(options: object): Promise<PeerLibraryModel>;
  dispose(): Promise<void>;
  readonly _bindings: {
    AddonSampler: new (model: unknown) => { applyConfig(config: object): void; dispose(): void };
  };
}

/** New tokens of one sequence after `past` cached ones. */
interface PeerRow {
  readonly sequence: number;
  readonly past: number;
  readonly tokens: Uint32Array;
}

/** One llama.cpp context: a set of sequences that share a batch, and one set of adapters for all of them. */
export interface PeerContext {
  /** One `llama_decode` over the rows, with logits at each row's last token. */
  step(rows: readonly PeerRow[]): Promise<void>;
  /** The likeliest token after each row of the last step. */
  greedy(): Promise<number[]>;
  /** Forgets everything after the first `length` tokens of a sequence. */
  truncate(sequence: number, length: number): void;
  close(): Promise<void>;
}

export interface PeerModel {
  context(options: {
    sequences: number;
    length: number;
    batch: number;
    adapters?: readonly string[];
  }): Promise<PeerContext>;
  close(): Promise<void>;
}

/** Installs the library where it is not there yet, and loads a GGUF file on the CPU with all cores. */
export async function loadPeerModel(path: string, threads = availableParallelism()): Promise<PeerModel> {
  const folder = install();
  const entry = pathToFileURL(join(folder, "node_modules", "node-llama-cpp", "dist", "index.js"));
  const { getLlama } = (await import(entry.href)) as { getLlama(options: object): Promise<PeerLibrary> };
  const library = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    logLevel: "error",
    maxThreads: threads,
  });
  const model = await library.loadModel({ modelPath: path });
  return {
    context: async ({ sequences, length, batch, adapters = [] }) => {
      const context = await model.createContext({
        sequences,
        contextSize: length,
        batchSize: batch,
        threads: { ideal: threads, min: threads },
        ...(adapters.length > 0 && { lora: { adapters: adapters.map((filePath) => ({ filePath })) } }),
      });
      return peerContext(context, library, model);
    },
    close: async () => {
      await model.dispose();
      await library.dispose();
    },
  };
}

function peerContext(context: PeerLibraryContext, library: PeerLibrary, model: PeerLibraryModel): PeerContext {
  const addon = context._ctx;
  let logits: number[] = [];
  return {
    step: async (rows) => {
      addon.initBatch(rows.reduce((sum, { tokens }) => sum + tokens.length, 0));
      logits = rows.map(
        ({ sequence, past, tokens }) => addon.addToBatch(sequence, past, tokens, Uint32Array.of(tokens.length - 1))[0],
      );
      await addon.decodeBatch();
    },
    greedy: async () => {
      const sampler = new library._bindings.AddonSampler(model._model);
      sampler.applyConfig({ temperature: 0 });
      const tokens: number[] = [];
      for (const logit of logits) tokens.push(await addon.sampleToken(logit, sampler));
      sampler.dispose();
      return tokens;
    },
    truncate: (sequence, length) => {
      if (!addon.removeTokenCellsFromSequence(sequence, length, -1)) throw new Error("The cache was not cut");
    },
    close: () => context.dispose(),
  };
}

/** `npm install` into `.cache`: the library and its one prebuilt binary, no scripts, no other platform's gigabytes. */
function install(): string {
  const folder = join(benchCache(), `node-llama-cpp-${PEER_VERSION}`);
  const done = join(folder, "installed");
  if (existsSync(done)) return folder;
  const platform = PLATFORMS[`${process.platform}-${process.arch}`];
  if (platform === undefined) throw new Error(`node-llama-cpp has no binary for ${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  const packages = [`node-llama-cpp@${PEER_VERSION}`, `@node-llama-cpp/${platform}@${PEER_VERSION}`];
  const flags = ["--ignore-scripts", "--omit=optional", "--save-exact", "--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", ["install", ...flags, ...packages], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
  writeFileSync(done, "");
  return folder;
}
