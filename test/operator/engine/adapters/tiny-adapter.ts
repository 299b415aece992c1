import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeAdapter } from "../../../../operator/engine/model/adapter-writer.ts";
import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { LORA_TARGETS, targetShape } from "../../../../operator/engine/model/lora.ts";

/** The smallest model that adapters of these tests are made for. */
export const TINY: ModelConfig = {
  family: "llama",
  vocabSize: 260,
  hiddenSize: 16,
  intermediateSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  maxPositions: 512,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: { type: "none" },
  windows: [null, null],
  tiedEmbeddings: true,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  bosTokenId: undefined,
  eosTokenIds: [],
};

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "openledger-engine-"));
}

/** Writes an adapter on every matrix with values drawn from `seed`, multiples of `step`; returns its folder. */
export function tinyAdapter(
  folder: string,
  seed: number,
  { rank = 4, size = 0.3, config = TINY, step = 0 } = {},
): string {
  let state = seed * 2654435761 + 1;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const value = (state / 2 ** 32 - 0.5) * 2 * size;
    return step === 0 ? value : Math.round(value / step) * step;
  };
  const layers = Array.from({ length: config.layers }, () =>
    Object.fromEntries(
      LORA_TARGETS.map((target) => {
        const [outputs, inputs] = targetShape(config, target);
        return [
          target,
          {
            a: Float32Array.from({ length: rank * inputs }, draw),
            b: Float32Array.from({ length: outputs * rank }, draw),
          },
        ];
      }),
    ),
  );
  writeAdapter(folder, { rank, alpha: rank * 2, targets: LORA_TARGETS, baseModel: "tiny", layers });
  return folder;
}
