import { join } from "node:path";
import type { Auditor } from "../auditing/auditor.ts";
import { bundledModel } from "../engine/bundled-model.ts";
import type { MetricFamily } from "../engine/metrics.ts";
import { isRemoteEngineAddress } from "../engine/remote/connect.ts";
import type { JobVerdict } from "../payments/payer/paid-jobs.ts";
import { RoundLoop } from "../settlement/round-loop.ts";
import { evidenceIn, ledgersIn, openAuditor } from "./auditing.ts";
import { ConfigError } from "./config-error.ts";
import { type Found, findingLine, isTrouble } from "./findings.ts";
import type { NodeBase } from "./node-base.ts";
import { openWatcher, type PublishedSources } from "./watching.ts";

export interface WatchingPlaces {
  /** Where this node publishes its own batches. */
  published?: string;
  /** Where payers' commands of this machine keep their ledgers. */
  payments?: string;
}

/**
 * Prepares to watch every operator of the chain.
 *
 * @returns Starts it: once the node's own gateway answers, which may be asked like any other.
 * @throws {ConfigError} When samples are wanted and there is no model.
 */
export function prepareWatching(base: NodeBase, { published, payments }: WatchingPlaces): () => void {
  const { config, client, deployment, windows, separator, mirror, content, say, atClose, parts } = base;
  const { prove, demandsPerRound, intervalSeconds, data: archives } = config.watcher;
  const sender = prove ? base.sender() : undefined;
  const sources = { mirror, content, archives, ...(published !== undefined && { directory: published }) };
  const watcher = openWatcher({ ...sources, client, deployment, windows, separator, sender, demandsPerRound });
  const evidence = join(config.data, "evidence");
  const stopping = new AbortController();
  const auditor = auditorOf(base, { sources, payments, evidence, signal: stopping.signal });
  let wrong: Found[] = [];
  let checked = 0;
  const sampled: Record<JobVerdict, number> = { verified: 0, misattributed: 0, unchecked: 0 };
  const round = async () => {
    const findings: Found[] = await watcher.round();
    checked += findings.filter(({ what }) => what === "honest").length;
    wrong = findings.filter(isTrouble);
    for (const finding of wrong) say(`Watcher: ${findingLine(finding)}`);
    for (const finding of (await auditor?.round()) ?? []) {
      sampled[finding.what]++;
      if (!isTrouble(finding)) continue;
      wrong.push(finding);
      say(`Watcher: ${findingLine(finding)}`);
    }
  };
  const loop = new RoundLoop({
    round,
    interval: intervalSeconds * 1_000,
    onError: (error, failures) => {
      if (!stopping.signal.aborted) say(`Watching failed (${failures} in a row): ${error.message}`);
    },
  });
  atClose(() => {
    stopping.abort();
    return loop.stop();
  });
  parts.push({
    report: () => ({
      alarms: [
        ...wrong.map(findingLine),
        ...evidenceAlarm(evidence),
        ...(loop.health().alarm ? ["No round of watching has ended well for half an hour."] : []),
      ],
    }),
    metrics: async () => watcherMetrics({ checked, wrong: wrong.length, sampled, evidence }),
  });
  return () => loop.start();
}

function auditorOf(
  { config, deployment, separator, mirror, content }: NodeBase,
  given: {
    sources: PublishedSources;
    payments: string | undefined;
    evidence: string;
    signal: AbortSignal;
  },
): Auditor | undefined {
  const { sample, sampleDays, ledgers, model: named, threads, memoryMiB } = config.watcher;
  if (sample === 0) return undefined;
  const { engine } = config;
  const own = engine && !isRemoteEngineAddress(engine.model) ? engine.model : undefined;
  const model = named ?? own ?? bundledModel();
  if (model === undefined) {
    throw new ConfigError("the configuration", ["watcher.model: is missing, and watcher.sample needs it"]);
  }
  const { payments, evidence, signal, sources } = given;
  const { quantisation } = engine ?? {};
  return openAuditor({
    ...{ ...sources, deployment, separator, mirror, content, sample, evidence, signal },
    trustedOrigins: config.content.trustedOrigins,
    ledgers: () => (ledgers.length > 0 || payments === undefined ? ledgers : ledgersIn(payments, deployment.chainId)),
    days: sampleDays,
    engine: {
      ...{ model, threads, cache: join(config.data, "graphs"), memoryBytes: memoryMiB * 2 ** 20 },
      ...(quantisation && { quantisation }),
    },
    serving: join(config.data, "serving"),
  });
}

/** What was found stays an alarm until somebody has taken the files away. */
function evidenceAlarm(folder: string): string[] {
  const { length } = evidenceIn(folder);
  return length === 0 ? [] : [`Answers were measured wrong: ${length} files of evidence in ${folder}.`];
}

function watcherMetrics(now: {
  checked: number;
  wrong: number;
  sampled: Record<JobVerdict, number>;
  evidence: string;
}): MetricFamily[] {
  const { checked, wrong, sampled, evidence } = now;
  return [
    {
      name: "openledger_watched_batches_total",
      type: "counter",
      help: "Batches that were replayed and found honest.",
      samples: [{ labels: {}, value: checked }],
    },
    {
      name: "openledger_watcher_findings",
      type: "gauge",
      help: "Batches and jobs that the last round found wrong, withheld or could not check.",
      samples: [{ labels: {}, value: wrong }],
    },
    {
      name: "openledger_sampled_jobs_total",
      type: "counter",
      help: "Jobs paid for from here that were done again, by what came of it.",
      samples: Object.entries(sampled).map(([verdict, value]) => ({ labels: { verdict }, value })),
    },
    {
      name: "openledger_evidence_files",
      type: "gauge",
      help: "Files of evidence that nobody has taken away.",
      samples: [{ labels: {}, value: evidenceIn(evidence).length }],
    },
  ];
}
