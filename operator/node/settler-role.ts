import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseEther, parseGwei } from "viem";
import type { MetricFamily } from "../engine/metrics.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import { keepQueueFilled } from "../queue/refill-queue.ts";
import { SettlementError } from "../settlement/errors.ts";
import { serveSequencer } from "../settlement/http/sequencer-server.ts";
import { Journal } from "../settlement/journal/journal.ts";
import { LocalSequencer } from "../settlement/local-sequencer.ts";
import { RoundLoop } from "../settlement/round-loop.ts";
import { Settler } from "../settlement/settler.ts";
import { viemChainPort } from "../settlement/viem-chain-port.ts";
import type { NodeBase } from "./node-base.ts";

const HOUR = 3_600;
const DAY = 24 * HOUR;

/** The books and what takes them to the chain. */
export interface SettlerRole {
  journal: Journal;
  sequencer: LocalSequencer;
  /** Where batches' data are published. */
  publishedDirectory: string;
}

/** Opens the books; they are closed after everything that writes to them. @throws {JournalError} */
export async function openBooks(base: NodeBase): Promise<SettlerRole> {
  const { config, folder, separator, windows, mirror, atClose } = base;
  const file = join(folder, "journal.sqlite");
  const journal = new Journal({ file, operator: config.operator, separator });
  atClose(() => journal.close());
  return {
    journal,
    sequencer: await openSequencer(base, journal, windows, mirror),
    publishedDirectory: join(folder, "published"),
  };
}

/** What was written with newer registries waits until they are read again. */
async function openSequencer(
  { say, signal, config }: NodeBase,
  journal: Journal,
  windows: NodeBase["windows"],
  registry: NodeBase["mirror"],
): Promise<LocalSequencer> {
  const failedRequestBytes = config.settlement.failedRequestsMiB * 2 ** 20;
  for (;;) {
    try {
      return new LocalSequencer({ journal, registry, windows, failedRequestBytes });
    } catch (error) {
      if (!(error instanceof SettlementError) || error.code !== "registryNotReady") throw error;
      say("The journal knows newer registries than the chain shows yet: waiting.");
      await sleep(1_000, undefined, { signal });
    }
  }
}

/** Lets gateways and workers on other machines write to the books. @returns The address. */
export async function offerSequencer(base: NodeBase, { sequencer }: SettlerRole, secret: string): Promise<string> {
  const { host, port = 0 } = base.config.sequencer;
  const server = await serveSequencer(sequencer, { host, port, secret });
  base.atClose(() => server.close());
  return server.url;
}

/** Starts settling and refilling the queue. */
export function startSettling(
  base: NodeBase,
  { journal, sequencer, publishedDirectory }: SettlerRole,
  queue: JobQueue,
): void {
  const { config, client, deployment, windows, mirror, say, atClose, parts } = base;
  const { settlement } = config;
  const chain = viemChainPort({
    client,
    sender: base.sender(),
    deployment,
    payeesOf: (id) => mirror.payeesOf(id),
    maxRange: config.chain.maxRange,
    confirmations: config.chain.confirmations,
  });
  const settler = new Settler({
    ...{ journal, sequencer, chain, windows, directory: publishedDirectory },
    batchReceipts: settlement.batchReceipts,
    // Half of the time that the sequencer leaves a receipt to be posted in, whatever the setting.
    batchSeconds: Math.min(settlement.batchSeconds, Math.min(3_600, windows.posting / 4) / 2),
    alarmAfter: settlement.alarmAfterSeconds,
    ...(settlement.patienceSeconds !== undefined && { patience: settlement.patienceSeconds }),
    ...(settlement.maxGasPriceGwei !== undefined && { maxGasPrice: parseGwei(settlement.maxGasPriceGwei) }),
    ...(settlement.coinPerOpen !== undefined && { coinPerOpen: parseEther(settlement.coinPerOpen) }),
    ...(settlement.keepAnswersForDays !== undefined && { keepAnswersFor: settlement.keepAnswersForDays * DAY }),
    keepFailedFor: settlement.keepFailedForHours * HOUR,
    onRebuilt: (reason, { kept, withdrawn }) =>
      say(`Batches were built anew (${reason}): ${kept} receipts kept, ${withdrawn.length} given up.`),
    onUnpaid: (unpaid) => {
      for (const { id, reason } of unpaid) say(`Contributor ${id} could not be paid: ${reason}`);
    },
  });
  const loop = new RoundLoop({
    round: () => settler.round(),
    interval: settlement.intervalSeconds * 1_000,
    onError: (error, failures) => say(`Settling failed (${failures} in a row): ${error.message}`),
  });
  loop.start();
  const refilling = new AbortController();
  const filled = keepQueueFilled({ sequencer, queue, say }, refilling.signal);
  atClose(async () => {
    refilling.abort();
    await Promise.all([loop.stop(), filled]);
  });
  parts.push({
    report: () => {
      const { alarm, lastError, lastSuccess, losses } = settler.health();
      const alarms = [
        ...(journal.writeError === undefined ? [] : [`${journal.writeError} No job is taken until it can be written.`]),
        ...(alarm ? ["Receipts have waited too long to be posted."] : []),
        ...(lastError === undefined ? [] : [`Settling failed: ${lastError}`]),
        ...(loop.health().alarm ? ["No round of settling has ended well for half an hour."] : []),
        ...(losses.receipts > 0 ? [`${losses.receipts} receipts were given up; their payers are not charged.`] : []),
      ];
      return { alarms, ...(lastSuccess !== undefined && { lastSettlement: lastSuccess }) };
    },
    metrics: async () => settlementMetrics(settler),
  });
}

function settlementMetrics(settler: Settler): MetricFamily[] {
  const { unpostedSince, losses, alarm } = settler.health();
  const now = Math.floor(Date.now() / 1_000);
  const gauge = (name: string, help: string, value: number): MetricFamily => ({
    ...{ name, help, type: "gauge" },
    samples: [{ labels: {}, value }],
  });
  const waiting = unpostedSince === undefined ? 0 : Math.max(0, now - unpostedSince);
  return [
    gauge("openledger_unposted_age_seconds", "Age of the oldest receipt that is not on the chain", waiting),
    gauge("openledger_settlement_alarm", "1 when receipts have waited too long", alarm ? 1 : 0),
    gauge("openledger_batches_fallen", "Sealed batches that fell or came too late", losses.batches),
    gauge("openledger_receipts_given_up", "Receipts that no batch may carry any more", losses.receipts),
  ];
}
