import { RoundLoop } from "../settlement/round-loop.ts";
import { type Finding, isTrouble } from "../settlement/watcher.ts";
import type { NodeBase } from "./node-base.ts";
import { openWatcher } from "./watching.ts";

/** Starts watching every operator of the chain. */
export function startWatching(base: NodeBase, directory: string | undefined): void {
  const { config, client, deployment, windows, separator, mirror, content, say, atClose, parts } = base;
  const { prove, demandsPerRound, intervalSeconds, data: archives } = config.watcher;
  const sender = prove ? base.sender() : undefined;
  const sources = { mirror, content, archives, ...(directory !== undefined && { directory }) };
  const watcher = openWatcher({ ...sources, client, deployment, windows, separator, sender, demandsPerRound });
  let wrong: Finding[] = [];
  let checked = 0;
  const round = async () => {
    const findings = await watcher.round();
    checked += findings.filter(({ what }) => what === "honest").length;
    wrong = findings.filter(isTrouble);
    for (const finding of wrong) say(`Watcher: ${findingLine(finding)}`);
  };
  const loop = new RoundLoop({
    round,
    interval: intervalSeconds * 1_000,
    onError: (error, failures) => say(`Watching failed (${failures} in a row): ${error.message}`),
  });
  loop.start();
  atClose(() => loop.stop());
  parts.push({
    report: () => ({
      alarms: [
        ...wrong.map(findingLine),
        ...(loop.health().alarm ? ["No round of watching has ended well for half an hour."] : []),
      ],
    }),
    metrics: async () => [
      {
        name: "openledger_watched_batches_total",
        type: "counter",
        help: "Batches that were replayed and found honest.",
        samples: [{ labels: {}, value: checked }],
      },
      {
        name: "openledger_watcher_findings",
        type: "gauge",
        help: "Batches that the last round found wrong, withheld or could not check.",
        samples: [{ labels: {}, value: wrong.length }],
      },
    ],
  });
}

/** A finding in one line. */
export function findingLine({ operator, height, what, detail }: Finding): string {
  return `batch ${height} of operator ${operator}: ${what} (${detail})`;
}
