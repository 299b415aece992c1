import { decodeBatchData } from "../protocol/batch-data.ts";
import { SNAPSHOT_INTERVAL } from "../protocol/bounds.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { openData } from "../protocol/replay.ts";
import { restoreState } from "../protocol/snapshot.ts";
import type { State } from "../protocol/state.ts";

/** Snapshots that are tried: whoever withholds one is not asked for all of them. */
const TRIES = 4;

interface FinalSnapshot {
  /** Height of the batch after which it holds. */
  height: number;
  state: State;
}

/** How many of an operator's batches are final, by height from 1 on. Events name only the highest of those made final at once. */
export function finalBatches(batches: readonly { final: boolean }[]): number {
  return batches.findLastIndex(({ final }) => final) + 1;
}

/**
 * The state after the newest batch that is final and published with a snapshot. What is final can be disproved no more, so
 * that replaying what is below changes nothing for what is above. The snapshot is held against the header's roots.
 *
 * @param above Height above which it is looked for.
 * @param upTo Height of the last batch that may be taken.
 * @param fetchData As {@link openData} takes them.
 */
export async function newestFinalSnapshot(
  batches: readonly { header: BatchHeader; final: boolean }[],
  { above, upTo }: { above: number; upTo: number },
  fetchData: (header: BatchHeader) => Promise<Uint8Array | undefined>,
): Promise<FinalSnapshot | undefined> {
  const interval = Number(SNAPSHOT_INTERVAL);
  let height = Math.floor(Math.min(finalBatches(batches), upTo) / interval) * interval;
  for (let tries = 0; tries < TRIES && height > above; tries++, height -= interval) {
    const { header } = batches[height - 1];
    const data = await fetchData(header).catch(() => undefined);
    const snapshot = data && openData(header, data) && decodeBatchData(data).snapshot;
    const state = snapshot ? restoreState(snapshot, header.state) : undefined;
    if (state) return { height, state };
  }
  return undefined;
}
