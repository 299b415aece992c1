import type { MeasuredAnswer } from "../../../operator/attribution/context.ts";
import { measureContext } from "../../../operator/attribution/context.ts";
import { poolEntries } from "../../../operator/attribution/shares.ts";
import type { Source } from "../../../operator/attribution/traced-prompt.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { ngramEngine, ngramTokens } from "./ngram-engine.ts";

/** A contribution as it stands in a prompt. */
export interface Shown {
  readonly id: number;
  readonly text: string;
  readonly owner?: string;
}

/** A question over some contributions, and an answer to it. */
export function answerFrom(shown: readonly Shown[], question: string, answer: string): MeasuredAnswer {
  const sources: Source[] = shown.map(({ id, owner }) => ({
    kind: "contribution",
    id,
    via: 0,
    ...(owner && { owner }),
  }));
  const parts = [
    { text: "Answer from these passages.\n" },
    ...shown.map(({ text }, source) => ({ text: `Passage: ${text}\n`, source })),
    { text: `Question: ${question}\nAnswer:` },
  ];
  return { prompt: { parts }, sources, tokens: ngramTokens(answer), adapters: [] };
}

export const SEED = keccak(new TextEncoder().encode("seed"));

/** Effect of each contribution, by id, in millionths of a nat. */
export async function effectsById(answer: MeasuredAnswer): Promise<Map<number, number>> {
  const { measurement } = await measureContext(ngramEngine(), answer, SEED);
  return new Map(answer.sources.map(({ id }, i) => [id, measurement.effects[i]]));
}

/** What each owner earns of the context pool, in parts per million. An owner that is not named is the contribution's id. */
export async function earnings(
  shown: readonly Shown[],
  question: string,
  answer: string,
): Promise<Map<string, number>> {
  const effects = await effectsById(answerFrom(shown, question, answer));
  const entries = poolEntries(
    [...effects].map(([id, effect]) => ({ id, via: 0, effect })),
    12,
  );
  const earned = new Map<string, number>(shown.map(({ id, owner }) => [owner ?? String(id), 0]));
  for (const { id, ppm } of entries) {
    const owner = shown.find((entry) => entry.id === id)?.owner ?? String(id);
    earned.set(owner, earned.get(owner)! + ppm);
  }
  return earned;
}
