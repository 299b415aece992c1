import type { AttributionEntry, Receipt } from "../../../operator/protocol/receipt.ts";
import { VERDICT, type Verdict } from "../../../operator/protocol/verdict.ts";
import { earnersOf } from "./jobs.ts";
import { committing, type Lie, type Scene } from "./liar.ts";

type Pool = "context" | "training" | "tool";

/** A lie in one pool of the victim, everything else true to it. */
function poolLie(
  name: string,
  verdict: Verdict,
  pool: Pool,
  change: (entries: AttributionEntry[], scene: Scene) => AttributionEntry[],
): Lie {
  return {
    name,
    verdict,
    tell: (scene) => {
      const entries = scene.victim[pool].map((entry) => ({ ...entry }));
      return committing(scene, { ...scene.victim, [pool]: change(entries, scene) });
    },
  };
}

/** One entry put in the place of the pool's first, the pool kept in order and without repetition. */
function replacing(entries: AttributionEntry[], id: number, via: number): AttributionEntry[] {
  const [first, ...rest] = entries;
  const others = rest.filter((entry) => entry.id !== id);
  const ppm = 1_000_000 - others.reduce((sum, entry) => sum + entry.ppm, 0);
  return [{ ...first, id, via, ppm }, ...others].sort((a, b) => a.id - b.id);
}

/** A via changed in the pool's first entry. */
function rerouted(entries: AttributionEntry[], via: number): AttributionEntry[] {
  return [{ ...entries[0], via }, ...entries.slice(1)];
}

const cornered = (name: string, verdict: Verdict, corner: keyof Scene["world"]["corners"]): Lie[] => [
  poolLie(`context: ${name}`, verdict, "context", (entries, { world }) => replacing(entries, world.corners[corner], 0)),
  // The first adapter's lineage starts with the same DataNet as the composition's list.
  poolLie(`training: ${name}`, verdict, "training", (entries, { world }) =>
    replacing(entries, world.corners[corner], 0),
  ),
];

/** 34 earners: more than a receipt may pay. */
function crowded(scene: Scene): Receipt {
  const earners = earnersOf(scene.world, scene.world.agents[0]);
  const even = (chosen: { id: number; via: number }[]): AttributionEntry[] =>
    chosen.map(({ id, via }, i) => ({
      id,
      via,
      ppm: Math.floor(1_000_000 / chosen.length) + (i === 0 ? 1_000_000 % chosen.length : 0),
    }));
  const context = earners.context.slice(0, 12);
  const taken = new Set(context.map(({ id }) => id));
  const training = earners.training.filter(({ id }) => !taken.has(id)).slice(0, 12);
  return { ...scene.victim, context: even(context), training: even(training), tool: even(earners.tool) };
}

export const ATTRIBUTION_LIES: Lie[] = [
  poolLie("context out of order", VERDICT.attributionUnsorted, "context", ([a, b, ...rest]) => [b, a, ...rest]),
  poolLie("training out of order", VERDICT.attributionUnsorted, "training", ([a, b, ...rest]) => [b, a, ...rest]),
  poolLie("tools out of order", VERDICT.attributionUnsorted, "tool", ([a, b, ...rest]) => [b, a, ...rest]),
  poolLie("a contribution named twice", VERDICT.attributionUnsorted, "context", ([a, , ...rest]) => {
    const ppm = 1_000_000 - rest.reduce((sum, entry) => sum + entry.ppm, a.ppm);
    return [a, { ...a, ppm }, ...rest];
  }),
  poolLie("context that sums to one too few", VERDICT.attributionSum, "context", (entries) =>
    entries.map((entry, i) => (entry.ppm > 1 && i === heaviest(entries) ? { ...entry, ppm: entry.ppm - 1 } : entry)),
  ),
  poolLie("training that sums to one too many", VERDICT.attributionSum, "training", ([a, ...rest]) => [
    { ...a, ppm: a.ppm + 1 },
    ...rest,
  ]),
  poolLie("a tool with a part of nothing", VERDICT.attributionSum, "tool", ([a, b]) => [
    { ...a, ppm: 0 },
    { ...b, ppm: 1_000_000 },
  ]),
  poolLie("context through a DataNet that is not there", VERDICT.attributionForeign, "context", (entries) =>
    rerouted(entries, 8),
  ),
  poolLie("context through another DataNet of the agent", VERDICT.attributionForeign, "context", (entries) =>
    rerouted(entries, (entries[0].via + 1) % 8),
  ),
  poolLie("context that does not exist", VERDICT.attributionForeign, "context", (entries) =>
    replacing(entries, 4_000_000, entries[0].via),
  ),
  poolLie("a tool in the place of context", VERDICT.attributionForeign, "context", (entries, { composition }) =>
    replacing(entries, composition.tools[0].id, 0),
  ),
  poolLie("training through an adapter that is not there", VERDICT.attributionForeign, "training", (entries) =>
    rerouted(entries, 32),
  ),
  poolLie("training through the highest via there is", VERDICT.attributionForeign, "training", (entries) =>
    rerouted(entries, 255),
  ),
  poolLie("training through another part of a lineage", VERDICT.attributionForeign, "training", (entries, scene) => {
    const { world, composition } = scene;
    const adapter = composition.adapters[0];
    const wrong = [0, 1, 2, 3, 4, 5, 6, 7].find(
      (i) => world.registry.lineage(adapter.id, 1, i)?.dataNet !== world.registry.contribution(entries[0].id)!.dataNet,
    );
    return rerouted(entries, wrong!);
  }),
  poolLie("a tool by the index of another", VERDICT.attributionForeign, "tool", (entries) =>
    rerouted(entries, (entries[0].via + 1) % 4),
  ),
  poolLie("a tool by an index that is not there", VERDICT.attributionForeign, "tool", (entries) =>
    rerouted(entries, 4),
  ),
  poolLie("a tool that the agent does not use", VERDICT.attributionForeign, "tool", (entries, { world }) =>
    replacing(entries, world.unusedTool, entries[0].via),
  ),
  ...cornered("newer than the pinned version", VERDICT.attributionForeign, "tooNew"),
  ...cornered("withdrawn before the pinned version", VERDICT.attributionForeign, "tooOld"),
  ...cornered("of a DataNet that is not used", VERDICT.attributionForeign, "elsewhere"),
  ...cornered("never accepted", VERDICT.attributionNotAccepted, "pending"),
  ...cornered("withdrawn longer ago than the lag", VERDICT.attributionNotAccepted, "withdrawnLongAgo"),
  {
    name: "34 earners",
    verdict: VERDICT.tooManyEarners,
    tell: (scene) => committing(scene, crowded(scene)),
  },
];

function heaviest(entries: AttributionEntry[]): number {
  return entries.reduce((best, entry, i) => (entry.ppm > entries[best].ppm ? i : best), 0);
}
