import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolsOf } from "../../../operator/attribution/pools.ts";
import type { TraceInputs } from "../../../operator/attribution/trace.ts";
import { PPM } from "../../../operator/protocol/bounds.ts";
import { type Composition, EMPTY_POOL } from "../../../operator/protocol/composition.ts";
import { splitPrice } from "../../../operator/protocol/split.ts";

const list = <T>(count: number, of: (i: number) => T) => Array.from({ length: count }, (_, i) => of(i));

describe("the pools of a receipt", () => {
  const adapters = list(4, (i) => ({ id: 10 + i, version: 1, share: PPM / 4, scale: PPM }));
  const tools = list(4, (i) => ({ id: 20 + i, version: 1 }));
  const composition = {
    split: {
      operator: 0,
      publisher: 100_000,
      adapters: 200_000,
      prompt: 100_000,
      context: 200_000,
      training: 200_000,
      tool: 200_000,
    },
    emptyContext: EMPTY_POOL.publisher,
    emptyTraining: EMPTY_POOL.publisher,
    emptyTool: EMPTY_POOL.publisher,
    prompt: { id: 2, version: 1 },
    adapters,
    dataNets: [{ id: 3, version: 1 }],
    tools,
  } as unknown as Composition;
  const sources = [
    { kind: "prompt" as const, id: 2, via: 0 },
    ...tools.map(({ id }, via) => ({ kind: "tool" as const, id, via })),
  ];
  const spans = list(14, (i) => ({
    ...{ start: i, end: i + 1, words: 4, weight: 12_000_000 + i },
    occurrences: [{ dataNet: 3, contribution: 100 + i }],
  }));
  const influence = list(14, (i) => ({ id: 200 + i, via: 0, effect: 1_000 + i }));
  const inputsWith = (used: typeof adapters) =>
    ({
      adapters: used,
      sources,
      measures: { context: "verbatim", training: "influence" },
      corpora: [{ dataNet: 3, version: 1, corpusHash: "", context: 0 }],
    }) as unknown as TraceInputs;
  const measured = { effects: [5_000, 5_000, 5_000, 5_000, 5_000], spans, influence } as unknown as Parameters<
    typeof poolsOf
  >[1];

  it("never name more earners than a receipt may pay, and leave out who did least", () => {
    const pools = poolsOf(inputsWith(adapters), measured);
    const { credits } = splitPrice(10n ** 18n, 0, 1, composition, pools);
    assert.equal(credits.length, 32);
    assert.deepEqual(
      pools.training.map(({ id }) => id),
      list(10, (i) => 204 + i),
    );
    assert.equal(
      pools.training.reduce((sum, { ppm }) => sum + ppm, 0),
      PPM,
    );
  });

  it("are full where there is room", () => {
    const { context, training, tool } = poolsOf(inputsWith(adapters.slice(2)), measured);
    assert.deepEqual([context.length, training.length, tool.length], [12, 12, 4]);
  });
});
