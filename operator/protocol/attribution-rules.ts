import { MAX_LINEAGE, PPM } from "./bounds.ts";
import type { Composition } from "./composition.ts";
import type { AttributionEntry, Receipt } from "./receipt.ts";
import type { ContributionInfo, LineageEntry, RegistryView } from "./registry-view.ts";
import { VERDICT, type Verdict } from "./verdict.ts";

/** When and from where the registries are looked at. */
export interface RegistryMoment {
  registry: RegistryView;
  /** B: the time at which the batch saw the registries, seconds since 1970. */
  registryTime: number;
  /** LAG, in seconds. */
  lag: number;
}

/**
 * Judges the pools of a receipt: order over all pools, then sums over all pools, then entry by entry where each comes
 * from and whether it was accepted.
 *
 * @returns `valid` or the first of the verdicts 16 to 19 that applies.
 */
export function judgeAttribution(receipt: Receipt, composition: Composition, moment: RegistryMoment): Verdict {
  const pools = [receipt.context, receipt.training, receipt.tool];
  if (!pools.every(isAscending)) return VERDICT.attributionUnsorted;
  if (!pools.every(sumsUp)) return VERDICT.attributionSum;
  const { registry } = moment;

  for (const entry of receipt.context) {
    const dataNet = composition.dataNets[entry.via];
    const verdict = judgeContribution(entry, dataNet && { dataNet: dataNet.id, version: dataNet.version }, moment);
    if (verdict !== VERDICT.valid) return verdict;
  }
  for (const entry of receipt.training) {
    const adapter = composition.adapters[Math.floor(entry.via / MAX_LINEAGE)];
    const lineage = adapter && registry.lineage(adapter.id, adapter.version, entry.via % MAX_LINEAGE);
    const verdict = judgeContribution(entry, lineage, moment);
    if (verdict !== VERDICT.valid) return verdict;
  }
  for (const entry of receipt.tool) {
    if (composition.tools[entry.via]?.id !== entry.id) return VERDICT.attributionForeign;
  }
  return VERDICT.valid;
}

function judgeContribution(
  entry: AttributionEntry,
  source: LineageEntry | undefined,
  { registry, registryTime, lag }: RegistryMoment,
): Verdict {
  const contribution = registry.contribution(entry.id);
  if (!source || source.dataNet === 0 || !contribution || !isPartOf(contribution, source)) {
    return VERDICT.attributionForeign;
  }
  const { acceptedAt, withdrawnAt } = contribution;
  const accepted = acceptedAt > 0 && acceptedAt <= registryTime;
  const stands = withdrawnAt === 0 || withdrawnAt >= registryTime - lag;
  return accepted && stands ? VERDICT.valid : VERDICT.attributionNotAccepted;
}

/** Whether a contribution is in a version of a DataNet. */
export function isPartOf(contribution: ContributionInfo, source: LineageEntry): boolean {
  const { dataNet, fromVersion, untilVersion } = contribution;
  if (dataNet !== source.dataNet || fromVersion > source.version) return false;
  return untilVersion === 0 || source.version < untilVersion;
}

function isAscending(entries: readonly AttributionEntry[]): boolean {
  return entries.every((entry, i) => i === 0 || entry.id > entries[i - 1].id);
}

function sumsUp(entries: readonly AttributionEntry[]): boolean {
  if (entries.length === 0) return true;
  return entries.every((entry) => entry.ppm >= 1) && entries.reduce((sum, entry) => sum + entry.ppm, 0) === PPM;
}
