import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Deployment } from "../../deploy/deployment.ts";
import { Auditor } from "../auditing/auditor.ts";
import { readShownJob } from "../auditing/shown-job.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import { hashModel } from "../engine/runtime/compiled-model.ts";
import { startEmbeddedEngine } from "../engine/worker/embedded-engine.ts";
import type { EngineSettings } from "../engine/worker/settings.ts";
import { guardedFetch } from "../tools/guarded-fetch.ts";
import { type PublishedSources, readPublished } from "./watching.ts";

/** Bytes of an operator's answer at most: a trace has a few for each token of prompt and answer. */
const MOST_BYTES = 64 * 2 ** 20;

export interface AuditingOptions extends PublishedSources {
  deployment: Deployment;
  separator: Uint8Array;
  mirror: RegistryMirror;
  /** Origins that may be on a private network; else an operator could have this machine ask its own neighbours. */
  trustedOrigins: readonly string[];
  /** Files of payers' ledgers, as they are when a round begins. */
  ledgers: () => readonly string[];
  /** Jobs that a round does again at most. */
  sample: number;
  /** Age from which jobs are left alone. */
  days: number;
  engine: Pick<EngineSettings, "model" | "cache" | "threads" | "memoryBytes" | "quantisation">;
  /** Folder for the indexes of DataNets. */
  serving: string;
  /** Folder for evidence. */
  evidence: string;
  signal?: AbortSignal;
}

/** What does jobs again that were paid for from here. It reads the model's files. @throws ModelFormatError */
export function openAuditor(options: AuditingOptions): Auditor {
  const { deployment, mirror, content, trustedOrigins, engine, days, serving, signal } = options;
  const { ledgers, sample, separator, evidence } = options;
  const send = operatorFetch(trustedOrigins);
  return new Auditor({
    ...{ ledgers, sample, separator, evidence, mirror },
    domain: { chainId: BigInt(deployment.chainId), verifyingContract: deployment.contracts.channels },
    model: engine.model,
    modelHash: `0x${hashModel(engine.model)}`,
    maxAge: days * 86_400,
    fetchData: (header) => readPublished(header, options).catch(() => undefined),
    openEngine: () => startEmbeddedEngine({ ...engine, exact: true }),
    showJob: (operator, jobId, salt) => {
      const endpoint = mirror.operator(operator)?.endpoint;
      if (!endpoint) throw new Error(`operator ${operator} has no address`);
      return readShownJob(endpoint, jobId, { salt, send, ...(signal && { signal }) });
    },
    fetcher: content,
    directory: serving,
    ...(signal && { signal }),
  });
}

/** A `fetch` for the addresses that operators have registered. */
export function operatorFetch(trustedOrigins: readonly string[]): typeof fetch {
  const trusted = trustedOrigins.map((origin) => new URL("/", origin).href);
  // Whoever reads the body gets the same error from it.
  const send = guardedFetch({ trusted, maxBytes: MOST_BYTES, onTooLarge: () => undefined });
  return send as typeof fetch;
}

/** Ledgers of a chain's channels in the folder where payers' commands keep them. */
export function ledgersIn(folder: string, chainId: number): string[] {
  if (!existsSync(folder)) return [];
  const isLedger = (name: string) => name.startsWith(`${chainId}-`) && name.endsWith(".sqlite");
  return readdirSync(folder)
    .filter(isLedger)
    .map((name) => join(folder, name));
}

/** Evidence files that wait for somebody to look at them. */
export function evidenceIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")) : [];
}
