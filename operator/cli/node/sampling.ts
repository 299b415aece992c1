import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { JobFinding } from "../../auditing/auditor.ts";
import { buyAnswer, type MysteryShopperOptions } from "../../auditing/mystery-shopper.ts";
import { bundledModel } from "../../engine/bundled-model.ts";
import { hashModel } from "../../engine/runtime/compiled-model.ts";
import { modelFolder } from "../../hub/locate.ts";
import { ledgersIn, openAuditor, operatorFetch } from "../../node/auditing.ts";
import type { PayerLedger } from "../../payments/payer/payer-ledger.ts";
import { payingFetch } from "../../payments/paying-fetch.ts";
import { DataNetShelf } from "../../serving/data-net-shelf.ts";
import { note } from "../chain/chain-session.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";
import { openPayer } from "../pay/open-payer.ts";
import { progressLine } from "../progress-line.ts";
import type { WatchOptions } from "../watch.ts";
import type { ChainArchive } from "./chain-archive.ts";

/** What a watcher does with jobs of its own, beside replaying batches. */
export interface Sampling {
  /** Does jobs again that were drawn. */
  round(): Promise<JobFinding[]>;
  /** Buys answers that later rounds may draw; what goes wrong with one is said, and ends it. */
  buy(): Promise<void>;
  close(): void;
}

/** Undefined without `--sample`. @throws Error that says which option is missing or in vain. */
export async function openSampling(
  archive: ChainArchive,
  options: WatchOptions,
  signal: AbortSignal,
): Promise<Sampling | undefined> {
  const { sample, ledger, sampleDays, evidence, buy, channel } = options;
  if (sample === undefined) {
    const vain = ledger.length > 0 ? "--ledger" : buy !== undefined ? "--buy" : undefined;
    if (vain) throw new Error(`${vain} is for --sample: say how many jobs to do again in a round.`);
    return undefined;
  }
  if (buy === undefined && channel !== undefined)
    throw new Error("--channel is for --buy: say how many answers to buy.");
  if (buy !== undefined && (channel === undefined || options.maxTotal === undefined)) {
    throw new Error("--buy needs the channel that pays (--channel ID) and what may be spent (--max-total OPEN).");
  }
  const fetching = { say: progressLine(), signal };
  const model = options.model === undefined ? bundledModel() : await modelFolder(options.model, fetching);
  if (model === undefined) throw new Error("Say with which base model to do jobs again: --model FOLDER.");
  const home = openLedgerHome();
  const payments = join(home, "payments");
  const { chainId } = archive.deployment;
  const shop = channel === undefined ? undefined : await openShop(archive, { ...options, channel }, { model, signal });
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
  return {
    round: () => auditor.round(),
    buy: async () => shop?.buy(),
    close: () => shop?.close(),
  };
}

async function openShop(
  { mirror, content, trustedOrigins, deployment }: ChainArchive,
  { buy = 0, channel, maxTotal, sessionKeystore, addresses, once, interval }: WatchOptions & { channel: number },
  { model, signal }: { model: string; signal: AbortSignal },
) {
  const operator = mirror.channel(channel)?.operator;
  const operatorUrl = operator === undefined ? undefined : mirror.operator(operator)?.endpoint.replace(/\/$/, "");
  if (operatorUrl === undefined) throw new Error(`There is no channel ${channel} on this chain.`);
  const paying = { operatorUrl, channel, addresses, chain: deployment.chainId };
  const ledger: PayerLedger = await openPayer({ ...paying, ...(sessionKeystore && { keystore: sessionKeystore }) });
  const shelf = new DataNetShelf({ mirror, fetcher: content, directory: join(openLedgerHome(), "serving", "indexes") });
  const options: MysteryShopperOptions = {
    ...{ mirror, shelf, operatorUrl, signal, modelHash: `0x${hashModel(model)}` },
    pay: payingFetch({ ledger, maxTotal, fetch: operatorFetch(trustedOrigins) }),
  };
  return {
    async buy() {
      for (let left = buy; left > 0 && !signal.aborted; left--) {
        // Not all at once, and not at the same beat: other people ask when they like.
        if (!once) await sleep((Math.random() * interval * 1_000) / buy, undefined, { signal }).catch(() => undefined);
        try {
          const bought = await buyAnswer(options);
          if (!bought) return note("Nothing was bought: no agent of this base model has documents to ask about.");
          note(`Bought an answer of ${bought.agent}: job ${bought.job}`);
        } catch (error) {
          if (!signal.aborted) note(`Nothing was bought: ${(error as Error).message}`);
          return;
        }
      }
    },
    close: () => {
      shelf.close();
      ledger.close();
    },
  };
}
