import { MAX_EARNERS_PER_RECEIPT } from "../protocol/bounds.ts";
import { type Effect, POOL_LIMITS, poolEntries } from "./shares.ts";
import type { Pools, TraceInputs } from "./trace.ts";
import type { Source } from "./traced-prompt.ts";
import { type VerbatimSpan, verbatimEffects } from "./verbatim/spans.ts";

/** Effects up to a thousandth of a nat are rounding of the model's arithmetic, and earn nothing. */
const NOISE = 1_000;

/** What was measured about an answer. */
interface Measured {
  /** For each source, millionths of a nat. */
  readonly effects: readonly number[];
  readonly spans: readonly VerbatimSpan[];
  readonly influence: readonly Effect[];
}

/**
 * The receipt's entries, from what was measured: integer arithmetic only, the same everywhere.
 *
 * A receipt pays 32 ids at most, publisher, adapters and prompt among them. Full pools would make up to 34; then the
 * training pool, whose measure is the coarsest, holds fewer: its largest effects, as always.
 */
export function poolsOf(inputs: TraceInputs, { effects, spans, influence }: Measured): Pools {
  const { sources, measures, corpora } = inputs;
  const moved = (kind: Source["kind"]) =>
    sources.flatMap((source, i): Effect[] =>
      source.kind === kind && effects[i] > NOISE ? [{ id: source.id, via: source.via, effect: effects[i] }] : [],
    );
  const verbatim = (pool: "context" | "training") =>
    verbatimEffects(spans, (dataNet) => corpora.find((corpus) => corpus.dataNet === dataNet)?.[pool]);
  const context = measures.context === "verbatim" ? verbatim("context") : moved("contribution");
  const training = measures.training === "verbatim" ? verbatim("training") : influence;
  const pools = {
    context: poolEntries(context, POOL_LIMITS.context),
    tool: poolEntries(moved("tool"), POOL_LIMITS.tool),
  };
  const fixed = 1 + inputs.adapters.length + sources.filter(({ kind }) => kind === "prompt").length;
  const left = MAX_EARNERS_PER_RECEIPT - fixed - pools.context.length - pools.tool.length;
  return { ...pools, training: poolEntries(training, Math.min(left, POOL_LIMITS.training)) };
}
