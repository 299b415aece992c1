import assert from "node:assert/strict";
import { test } from "node:test";
import { referenceLogits, relativeL2 } from "../reference/forward.ts";
import { type HfConfig, randomModel } from "../reference/random-model.ts";
import { feed, quantisedReference, reference, runnerOf, sequence, TOLERANCE, tokensOf } from "./feeding.ts";

const FAMILIES: Record<string, Partial<HfConfig>> = {
  "llama with grouped heads": {},
  "llama without grouped heads": { num_key_value_heads: 4 },
  "llama with biases": { attention_bias: true, mlp_bias: true },
  "mistral with a window": { model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 7 },
  "qwen2 with biases": { model_type: "qwen2", architectures: ["Qwen2ForCausalLM"] },
  "qwen2 with a window in the upper layer": {
    model_type: "qwen2",
    architectures: ["Qwen2ForCausalLM"],
    sliding_window: 9,
    use_sliding_window: true,
    max_window_layers: 1,
  },
  "qwen3 with head norms": { model_type: "qwen3", architectures: ["Qwen3ForCausalLM"], head_dim: 32 },
  "smollm with tied embeddings": { tie_word_embeddings: true, num_attention_heads: 4, num_key_value_heads: 1 },
  "linear rope": { rope_scaling: { rope_type: "linear", factor: 4 } },
  "llama3 rope": {
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 64,
    },
  },
  "yarn rope": { rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 } },
};

for (const [name, overrides] of Object.entries(FAMILIES)) {
  test(`${name}: ragged prefill, chunks and decode agree with a float64 forward`, async () => {
    const model = randomModel(overrides);
    const runner = await runnerOf(model);
    try {
      const sequences = [
        sequence(tokensOf(model, 21, 1), 0),
        sequence(tokensOf(model, 13, 2), 16),
        sequence(tokensOf(model, 30, 3), 32),
      ];
      const boundaries = [
        [0, 5, 19, 20, 21],
        [0, 11, 12, 13],
        [0, 9, 28, 29, 30],
      ];
      const logits = await feed(runner, sequences, boundaries);
      for (const [i, { tokens }] of sequences.entries()) {
        const error = relativeL2(logits[i], referenceLogits(reference(model), tokens));
        assert.ok(error <= TOLERANCE, `sequence ${i}: ${error}`);
      }
    } finally {
      await runner.close();
    }
  });
}

test("one long prompt in chunks, alone, agrees with a float64 forward", async () => {
  for (const overrides of [FAMILIES["llama with grouped heads"], FAMILIES["mistral with a window"]]) {
    const model = randomModel(overrides);
    const runner = await runnerOf(model);
    try {
      const tokens = tokensOf(model, 100, 5);
      const [logits] = await feed(runner, [sequence(tokens, 0)], [[0, 1, 34, 98, 99, 100]]);
      const error = relativeL2(logits, referenceLogits(reference(model), tokens));
      assert.ok(error <= TOLERANCE, String(error));
    } finally {
      await runner.close();
    }
  }
});

for (const [quantisation, bits] of [
  ["q4", 4],
  ["q8", 8],
] as const) {
  test(`${quantisation} in exact mode agrees with a float64 forward over the dequantised weights`, async () => {
    for (const overrides of [{}, { tie_word_embeddings: true }, { intermediate_size: 100 }]) {
      const model = randomModel(overrides);
      const runner = await runnerOf(model, { quantisation });
      try {
        const tokens = tokensOf(model, 24, 9);
        const other = tokensOf(model, 17, 10);
        const sequences = [sequence(tokens, 0), sequence(other, 16)];
        const logits = await feed(runner, sequences, [
          [0, 20, 21, 22, 24],
          [0, 9, 16, 17],
        ]);
        for (const [i, sequence] of sequences.entries()) {
          const error = relativeL2(logits[i], referenceLogits(quantisedReference(model, bits), sequence.tokens));
          assert.ok(error <= TOLERANCE, `sequence ${i}: ${error}`);
        }
      } finally {
        await runner.close();
      }
    }
  });

  test(`${quantisation} in fast mode stays near the exact one`, async () => {
    const model = randomModel();
    const runner = await runnerOf(model, { quantisation, exact: false });
    try {
      const tokens = tokensOf(model, 24, 9);
      const [logits] = await feed(runner, [sequence(tokens, 0)], [[0, 20, 21, 24]]);
      const error = relativeL2(logits, referenceLogits(quantisedReference(model, bits), tokens));
      assert.ok(error > TOLERANCE && error < 0.03, String(error));
    } finally {
      await runner.close();
    }
  });
}
