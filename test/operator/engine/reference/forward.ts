import type { HfConfig, RandomAdapter } from "./random-model.ts";

/**
 * A decoder-only forward pass in float64, written from the papers (RMSNorm: Zhang and Sennrich 2019; RoPE: Su et al.
 * 2021; grouped-query attention: Ainslie et al. 2023; SwiGLU: Shazeer 2020; LoRA: Hu et al. 2021; YaRN: Peng et al.
 * 2023). It shares no code with the engine, knows no cache, no batch and no graph.
 */
export interface ReferenceModel {
  readonly config: HfConfig;
  /** Weights by their name in the file. */
  weights(name: string): ArrayLike<number> | undefined;
}

export interface WeightedAdapter {
  readonly adapter: RandomAdapter;
  readonly weight: number;
}

/** Whether the token at position `query` attends to the one at position `key`, which is the same or earlier. */
export type Sees = (query: number, key: number) => boolean;

/**
 * Block-sparse attention in token positions: a sequence of blocks, of which the first `sinks`, the last `local` and
 * those that end at a multiple of `stride` blocks are seen.
 */
export function blockSparse(block: number, sinks: number, local: number, stride: number): Sees {
  return (query, key) => {
    if (key < sinks * block) return true;
    const ownStart = query - (query % block);
    if (key >= ownStart - (local - 1) * block) return true;
    const blockEnd = key - (key % block) + block;
    return stride !== 0 && blockEnd % (stride * block) === 0;
  };
}

/** Logits after each token: `[tokens][vocabSize]`. */
export function referenceLogits(
  model: ReferenceModel,
  tokens: ArrayLike<number>,
  adapters: readonly WeightedAdapter[] = [],
  sees: Sees = () => true,
): Float64Array[] {
  const { config } = model;
  const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const headDim = (config.head_dim as number | undefined) ?? hidden / heads;
  const epsilon = config.rms_norm_eps as number;
  const embedding = model.weights("model.embed_tokens.weight")!;
  const rotation = rotationOf(config, headDim);
  let states: Float64Array[] = Array.from(tokens, (token) =>
    Float64Array.from({ length: hidden }, (_, i) => embedding[token * hidden + i]),
  );
  const linear = (x: Float64Array, path: string) => project(model, path, x, adapters);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const norm = (x: Float64Array, name: string) => rmsNorm(x, model.weights(`${prefix}.${name}.weight`)!, epsilon);
    const perHead = (x: Float64Array, count: number, position: number, name: string) =>
      Array.from({ length: count }, (_, h) => {
        let part: Float64Array = x.slice(h * headDim, (h + 1) * headDim);
        if (config.model_type === "qwen3") part = norm(part, `self_attn.${name}`);
        return rotate(part, position, rotation);
      });
    const normed = states.map((state) => norm(state, "input_layernorm"));
    const queries = normed.map((x, p) => perHead(linear(x, `${prefix}.self_attn.q_proj`), heads, p, "q_norm"));
    const keys = normed.map((x, p) => perHead(linear(x, `${prefix}.self_attn.k_proj`), kvHeads, p, "k_norm"));
    const values = normed.map((x) => linear(x, `${prefix}.self_attn.v_proj`));
    const window = windowOf(config, layer);
    states = states.map((state, position) => {
      const mixed = new Float64Array(heads * headDim);
      for (let h = 0; h < heads; h++) {
        const kv = Math.floor(h / (heads / kvHeads));
        const first = Math.max(0, position + 1 - window);
        const seen = [];
        for (let p = first; p <= position; p++) if (sees(position, p)) seen.push(p);
        const scores = seen.map((p) => dot(queries[position][h], keys[p][kv]) / Math.sqrt(headDim));
        const top = Math.max(...scores);
        const shares = scores.map((score) => Math.exp(score - top));
        const total = shares.reduce((a, b) => a + b, 0);
        for (let i = 0; i < headDim; i++) {
          let sum = 0;
          for (const [j, share] of shares.entries()) sum += (share / total) * values[seen[j]][kv * headDim + i];
          mixed[h * headDim + i] = sum;
        }
      }
      const middle = add(state, linear(mixed, `${prefix}.self_attn.o_proj`));
      const x = norm(middle, "post_attention_layernorm");
      const gate = linear(x, `${prefix}.mlp.gate_proj`);
      const up = linear(x, `${prefix}.mlp.up_proj`);
      const activated = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]);
      return add(middle, linear(activated, `${prefix}.mlp.down_proj`));
    });
  }
  const head = config.tie_word_embeddings === true ? "model.embed_tokens" : "lm_head";
  return states.map((state) => {
    const x = rmsNorm(state, model.weights("model.norm.weight")!, epsilon);
    return project(model, head, x, []);
  });
}

/** Natural log-probabilities of one row of logits. */
export function logSoftmax(logits: Float64Array): Float64Array {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const total = logits.reduce((sum, x) => sum + Math.exp(x - top), 0);
  return logits.map((x) => x - top - Math.log(total));
}

/** ‖a − b‖ / ‖b‖ over all values. */
export function relativeL2(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  let difference = 0;
  let size = 0;
  for (const [i, row] of b.entries()) {
    if (a[i].length !== row.length) throw new Error(`Row ${i}: ${a[i].length} values against ${row.length}.`);
    for (let j = 0; j < row.length; j++) {
      difference += (a[i][j] - row[j]) ** 2;
      size += row[j] ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

function project(
  model: ReferenceModel,
  path: string,
  x: Float64Array,
  adapters: readonly WeightedAdapter[],
): Float64Array {
  const weights = model.weights(`${path}.weight`)!;
  const bias = model.weights(`${path}.bias`);
  const columns = x.length;
  const out = new Float64Array(weights.length / columns);
  for (let i = 0; i < out.length; i++) {
    let sum = bias ? bias[i] : 0;
    for (let j = 0; j < columns; j++) sum += weights[i * columns + j] * x[j];
    out[i] = sum;
  }
  for (const { adapter, weight } of adapters) {
    const factors = adapter.modules.get(path);
    if (!factors) continue;
    const { a, b, rank, scale } = factors;
    for (let k = 0; k < rank; k++) {
      let inner = 0;
      for (let j = 0; j < columns; j++) inner += a[k * columns + j] * x[j];
      for (let i = 0; i < out.length; i++) out[i] += weight * scale * inner * b[i * rank + k];
    }
  }
  return out;
}

interface Rotation {
  frequencies: number[];
  scale: number;
}

function rotationOf(config: HfConfig, headDim: number): Rotation {
  const base = config.rope_theta as number;
  const frequencies = Array.from({ length: headDim / 2 }, (_, i) => 1 / base ** ((2 * i) / headDim));
  const scaling = config.rope_scaling as Record<string, number | string> | null | undefined;
  if (!scaling) return { frequencies, scale: 1 };
  const factor = scaling.factor as number;
  if (scaling.rope_type === "linear") return { frequencies: frequencies.map((f) => f / factor), scale: 1 };
  const original = scaling.original_max_position_embeddings as number;
  if (scaling.rope_type === "llama3") {
    const longest = original / (scaling.low_freq_factor as number);
    const shortest = original / (scaling.high_freq_factor as number);
    const scaled = frequencies.map((f) => {
      const wave = (2 * Math.PI) / f;
      if (wave > longest) return f / factor;
      if (wave < shortest) return f;
      const low = scaling.low_freq_factor as number;
      const share = (original / wave - low) / ((scaling.high_freq_factor as number) - low);
      return (f / factor) * (1 - share) + f * share;
    });
    return { frequencies: scaled, scale: 1 };
  }
  if (scaling.rope_type !== "yarn") throw new Error(`Unknown scaling ${scaling.rope_type}.`);
  const dimension = (turns: number) => (headDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const low = Math.max(Math.floor(dimension((scaling.beta_fast as number | undefined) ?? 32)), 0);
  const high = Math.min(Math.ceil(dimension((scaling.beta_slow as number | undefined) ?? 1)), headDim - 1);
  const scaled = frequencies.map((f, i) => {
    const keep = 1 - Math.min(1, Math.max(0, (i - low) / (high === low ? 0.001 : high - low)));
    return (f / factor) * (1 - keep) + f * keep;
  });
  return { frequencies: scaled, scale: (scaling.attention_factor as number | undefined) ?? 0.1 * Math.log(factor) + 1 };
}

/** Rotates the pairs (i, i + half), the layout of Hugging Face's weights. */
function rotate(x: Float64Array, position: number, { frequencies, scale }: Rotation): Float64Array {
  const half = frequencies.length;
  const out = new Float64Array(x.length);
  for (const [i, frequency] of frequencies.entries()) {
    const cos = Math.cos(position * frequency) * scale;
    const sin = Math.sin(position * frequency) * scale;
    out[i] = x[i] * cos - x[i + half] * sin;
    out[i + half] = x[i + half] * cos + x[i] * sin;
  }
  return out;
}

function windowOf(config: HfConfig, layer: number): number {
  const window = config.sliding_window as number | null | undefined;
  if (!window) return Infinity;
  if (config.model_type === "mistral") return window;
  if (config.use_sliding_window !== true) return Infinity;
  return layer >= (config.max_window_layers as number) ? window : Infinity;
}

function rmsNorm(x: Float64Array, scale: ArrayLike<number>, epsilon: number): Float64Array {
  const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(mean + epsilon)) * scale[i]);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]);
}
