import { decodeBatchData } from "../protocol/batch-data.ts";
import { SNAPSHOT_INTERVAL } from "../protocol/bounds.ts";
import { sameBytes, toHex } from "../protocol/bytes.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { openData, replayBatch } from "../protocol/replay.ts";
import { restoreState } from "../protocol/snapshot.ts";
import { emptyState, type State, stateRoot, summarise } from "../protocol/state.ts";
import { domainSeparator } from "../protocol/voucher.ts";
import type { ContentFetcher } from "./content.ts";
import type { RegistryMirror } from "./mirror.ts";

interface FinalStateSource {
  mirror: RegistryMirror;
  content: ContentFetcher;
  /** Where the published data of a hash may be. */
  dataUris: (dataHash: Uint8Array) => readonly string[];
  signal?: AbortSignal;
}

/** What an operator's newest final batch commits to, leaf by leaf. */
export interface FinalState {
  header: BatchHeader;
  state: State;
}

/**
 * Rebuilds the state that earnings are claimed against from published data: from the newest snapshot at or below the
 * final height, or from nothing, batch by batch.
 *
 * The result is held against the final header's roots, so wrong data can give no wrong state.
 *
 * @returns Undefined when the operator has no final batch.
 * @throws {ContentError} When published data cannot be had.
 * @throws Error When the data do not lead to the final state.
 */
export async function readFinalState(operator: number, source: FinalStateSource): Promise<FinalState | undefined> {
  const { mirror, content, dataUris, signal } = source;
  const final = mirror.batches(operator).filter((batch) => batch.final);
  const last = final.at(-1);
  if (!last) return undefined;
  const dataOf = ({ dataHash }: BatchHeader) => content.bytes(toHex(dataHash), dataUris(dataHash), { signal });
  const { chainId, contracts } = mirror.deployment;
  const separator = domainSeparator({ chainId: BigInt(chainId), verifyingContract: contracts.channels });
  // What is final may have been posted however late, and thaws have gone on since: the windows were the watchers' to
  // judge by.
  const windows = { voucherLife: 2 ** 30, posting: 2 ** 30, settling: Number.NEGATIVE_INFINITY };

  const interval = Number(SNAPSHOT_INTERVAL);
  let height = final.length - (final.length % interval);
  let state = emptyState();
  if (height > 0) {
    const { header } = final[height - 1];
    const { snapshot } = decodeBatchData(await dataOf(header));
    const restored = snapshot && restoreState(snapshot, header.state);
    if (restored) state = restored;
    // A snapshot that is false cannot be proven so on the chain: then the long way round.
    else height = 0;
  }
  for (const { header, submittedAt } of final.slice(height)) {
    const batch = openData(header, await dataOf(header));
    const context = { operator, registryTime: header.registryTime, submittedAt, windows, separator, registry: mirror };
    const replay = batch && replayBatch(state, batch, context);
    if (!replay?.after)
      throw new Error(`The data of batch ${header.height} of operator ${operator} do not follow its rules.`);
    state = replay.after;
  }
  if (!sameBytes(stateRoot(summarise(state)), stateRoot(last.header.state))) {
    throw new Error(`The published data of operator ${operator} do not lead to its final state.`);
  }
  return { header: last.header, state };
}
