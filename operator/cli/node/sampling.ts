import { join, resolve } from "node:path";
import type { JobFinding } from "../../auditing/auditor.ts";
import { bundledModel } from "../../engine/bundled-model.ts";
import { modelFolder } from "../../hub/locate.ts";
import { ledgersIn, openAuditor } from "../../node/auditing.ts";
import { note } from "../chain/chain-session.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";
import { progressLine } from "../progress-line.ts";
import type { WatchOptions } from "../watch.ts";
import type { ChainArchive } from "./chain-archive.ts";

/** What a watcher does with jobs of its own, beside replaying batches. */
export interface Sampling {
  round(): Promise<JobFinding[]>;
  close(): void;
}

/** Undefined without `--sample`. @throws Error that says which option is missing or in vain. */
export async function openSampling(
  archive: ChainArchive,
  options: WatchOptions,
  signal: AbortSignal,
): Promise<Sampling | undefined> {
  const { sample, ledger, sampleDays, evidence } = options;
  if (sample === undefined) {
    if (ledger.length > 0) throw new Error("--ledger is for --sample: say how many jobs to do again in a round.");
    return undefined;
  }
  const fetching = { say: progressLine(), signal };
  const model = options.model === undefined ? bundledModel() : await modelFolder(options.model, fetching);
  if (model === undefined) throw new Error("Say with which base model to do jobs again: --model FOLDER.");
  const home = openLedgerHome();
  const { chainId } = archive.deployment;
  const payments = join(home, "payments");
  const ledgers = () => (ledger.length > 0 ? ledger.map((file) => resolve(file)) : ledgersIn(payments, chainId));
  if (ledgers().length === 0)
    note(`No jobs to do again: there is no payer's ledger of chain ${chainId} in ${payments}.`);
  const auditor = openAuditor({
    ...archive,
    ...{ sample, ledgers, signal, days: sampleDays },
    engine: { model, cache: join(home, "graphs") },
    serving: join(home, "serving"),
    evidence: evidence === undefined ? join(home, "evidence") : resolve(evidence),
  });
  return { round: () => auditor.round(), close: () => undefined };
}
