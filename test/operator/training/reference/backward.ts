import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { ropeFrequencies } from "../../../../operator/engine/model/rope.ts";

/** Weights in float64 by their names in the model's files; gradients have the same form. */
export type Weights64 = Map<string, Float64Array>;

/** One row: token i + 1 should follow token i, with a weight each (length − 1 of them). */
export interface Row64 {
  readonly tokens: readonly number[];
  readonly weights: readonly number[];
}

/**
 * Loss of a Llama (grouped heads, windows, tied or own head; no biases) and its gradient with respect to every weight,
 * written out by hand for one row, position by position. It shares no code with the graph or its rules.
 */
export function lossAndGradient(
  config: ModelConfig,
  weights: Weights64,
  row: Row64,
): { loss: number; gradient: Weights64 } {
  const { hiddenSize: H, intermediateSize: I, heads, kvHeads, headDim: D, layers, vocabSize: V } = config;
  const S = row.tokens.length;
  const Q = heads * D;
  const KV = kvHeads * D;
  const gradient: Weights64 = new Map([...weights].map(([name, w]) => [name, new Float64Array(w.length)]));
  const frequencies = ropeFrequencies(config);
  const w = (layer: number, name: string): Float64Array => weights.get(`model.layers.${layer}.${name}.weight`)!;
  const g = (layer: number, name: string): Float64Array => gradient.get(`model.layers.${layer}.${name}.weight`)!;
  const embedding = weights.get("model.embed_tokens.weight")!;
  const headName = config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";

  // y[o] = sum_i m[o, i] x[i], and its two transposes.
  const apply = (m: Float64Array, x: Float64Array, outputs: number): Float64Array => {
    const y = new Float64Array(outputs);
    for (let o = 0; o < outputs; o++) for (let i = 0; i < x.length; i++) y[o] += m[o * x.length + i] * x[i];
    return y;
  };
  const applyBack = (m: Float64Array, dm: Float64Array, x: Float64Array, dy: Float64Array, dx: Float64Array): void => {
    for (let o = 0; o < dy.length; o++) {
      for (let i = 0; i < x.length; i++) {
        dm[o * x.length + i] += dy[o] * x[i];
        dx[i] += m[o * x.length + i] * dy[o];
      }
    }
  };
  const norm = (x: Float64Array, scale: Float64Array): { y: Float64Array; r: number } => {
    const r = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + config.rmsNormEps);
    return { y: x.map((v, i) => v * r * scale[i]), r };
  };
  const normBack = (
    x: Float64Array,
    r: number,
    scale: Float64Array,
    dScale: Float64Array,
    dy: Float64Array,
    dx: Float64Array,
  ): void => {
    // d r / d x_j = -r^3 x_j / n.
    let along = 0;
    for (let i = 0; i < x.length; i++) {
      along += dy[i] * scale[i] * x[i];
      dScale[i] += dy[i] * x[i] * r;
    }
    for (let i = 0; i < x.length; i++) dx[i] += r * dy[i] * scale[i] - (r ** 3 * x[i] * along) / x.length;
  };
  const rotate = (x: Float64Array, position: number, sign: 1 | -1): Float64Array => {
    const y = x.slice();
    for (let start = 0; start < x.length; start += D) {
      for (let i = 0; i < D / 2; i++) {
        const c = Math.cos(position * frequencies[i]);
        const s = sign * Math.sin(position * frequencies[i]);
        const [a, b] = [x[start + i], x[start + i + D / 2]];
        y[start + i] = a * c - b * s;
        y[start + i + D / 2] = b * c + a * s;
      }
    }
    return y;
  };
  const zeros = (width: number): Float64Array[] => Array.from({ length: S }, () => new Float64Array(width));
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  const first = (layer: number, to: number): number => Math.max(0, to + 1 - (config.windows[layer] ?? S));

  // Forward, keeping what the way back needs.
  let x = row.tokens.map((token) => embedding.slice(token * H, (token + 1) * H));
  const kept = Array.from({ length: layers }, (_, layer) => {
    const start = x;
    const normed = start.map((v) => norm(v, w(layer, "input_layernorm")));
    const q = normed.map(({ y }, s) => rotate(apply(w(layer, "self_attn.q_proj"), y, Q), s, 1));
    const k = normed.map(({ y }, s) => rotate(apply(w(layer, "self_attn.k_proj"), y, KV), s, 1));
    const v = normed.map(({ y }) => apply(w(layer, "self_attn.v_proj"), y, KV));
    const shares = Array.from({ length: heads }, (_, h) =>
      q.map((query, to) => {
        const kv = Math.floor((h * kvHeads) / heads) * D;
        const scores = new Float64Array(S).fill(-Infinity);
        for (let from = first(layer, to); from <= to; from++) {
          let sum = 0;
          for (let d = 0; d < D; d++) sum += query[h * D + d] * k[from][kv + d];
          scores[from] = sum / Math.sqrt(D);
        }
        const top = Math.max(...scores);
        const powers = scores.map((score) => Math.exp(score - top));
        const total = powers.reduce((a, b) => a + b, 0);
        return powers.map((power) => power / total);
      }),
    );
    const mixed = zeros(Q);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor((h * kvHeads) / heads) * D;
      for (let to = 0; to < S; to++) {
        for (let from = 0; from <= to; from++) {
          for (let d = 0; d < D; d++) mixed[to][h * D + d] += shares[h][to][from] * v[from][kv + d];
        }
      }
    }
    const middle = mixed.map((m, s) => apply(w(layer, "self_attn.o_proj"), m, H).map((y, i) => y + start[s][i]));
    const inner = middle.map((m) => norm(m, w(layer, "post_attention_layernorm")));
    const gate = inner.map(({ y }) => apply(w(layer, "mlp.gate_proj"), y, I));
    const up = inner.map(({ y }) => apply(w(layer, "mlp.up_proj"), y, I));
    const active = gate.map((row, s) => row.map((a, i) => a * sigmoid(a) * up[s][i]));
    x = active.map((a, s) => apply(w(layer, "mlp.down_proj"), a, H).map((y, i) => y + middle[s][i]));
    return { start, normed, q, k, v, shares, mixed, middle, inner, gate, up, active };
  });
  const final = x.map((v) => norm(v, weights.get("model.norm.weight")!));

  // Loss, and back through the head.
  let loss = 0;
  let dx = zeros(H);
  for (let s = 0; s + 1 < S; s++) {
    const logits = apply(weights.get(headName)!, final[s].y, V);
    const top = Math.max(...logits);
    const total = logits.reduce((sum, v) => sum + Math.exp(v - top), 0);
    const target = row.tokens[s + 1];
    loss -= row.weights[s] * (logits[target] - top - Math.log(total));
    const dLogits = logits.map((v, i) => row.weights[s] * (Math.exp(v - top) / total - (i === target ? 1 : 0)));
    const dFinal = new Float64Array(H);
    applyBack(weights.get(headName)!, gradient.get(headName)!, final[s].y, dLogits, dFinal);
    normBack(x[s], final[s].r, weights.get("model.norm.weight")!, gradient.get("model.norm.weight")!, dFinal, dx[s]);
  }

  for (let layer = layers - 1; layer >= 0; layer--) {
    const { start, normed, q, k, v, shares, mixed, middle, inner, gate, up, active } = kept[layer];
    const dMiddle = dx.map((d) => d.slice());
    for (let s = 0; s < S; s++) {
      const dActive = new Float64Array(I);
      applyBack(w(layer, "mlp.down_proj"), g(layer, "mlp.down_proj"), active[s], dx[s], dActive);
      const dGate = new Float64Array(I);
      const dUp = new Float64Array(I);
      for (let i = 0; i < I; i++) {
        const y = sigmoid(gate[s][i]);
        dUp[i] = dActive[i] * gate[s][i] * y;
        dGate[i] = dActive[i] * up[s][i] * (y + gate[s][i] * y * (1 - y));
      }
      const dInner = new Float64Array(H);
      applyBack(w(layer, "mlp.gate_proj"), g(layer, "mlp.gate_proj"), inner[s].y, dGate, dInner);
      applyBack(w(layer, "mlp.up_proj"), g(layer, "mlp.up_proj"), inner[s].y, dUp, dInner);
      const name = "post_attention_layernorm";
      normBack(middle[s], inner[s].r, w(layer, name), g(layer, name), dInner, dMiddle[s]);
    }
    const dMixed = zeros(Q);
    const dStart = dMiddle.map((d) => d.slice());
    for (let s = 0; s < S; s++) {
      applyBack(w(layer, "self_attn.o_proj"), g(layer, "self_attn.o_proj"), mixed[s], dMiddle[s], dMixed[s]);
    }
    const dq = zeros(Q);
    const dk = zeros(KV);
    const dv = zeros(KV);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor((h * kvHeads) / heads) * D;
      for (let to = 0; to < S; to++) {
        const share = shares[h][to];
        const dShare = new Float64Array(S);
        for (let from = 0; from <= to; from++) {
          for (let d = 0; d < D; d++) {
            dShare[from] += dMixed[to][h * D + d] * v[from][kv + d];
            dv[from][kv + d] += share[from] * dMixed[to][h * D + d];
          }
        }
        const mean = dShare.reduce((sum, d, from) => sum + d * share[from], 0);
        for (let from = 0; from <= to; from++) {
          const dScore = (share[from] * (dShare[from] - mean)) / Math.sqrt(D);
          for (let d = 0; d < D; d++) {
            dq[to][h * D + d] += dScore * k[from][kv + d];
            dk[from][kv + d] += dScore * q[to][h * D + d];
          }
        }
      }
    }
    for (let s = 0; s < S; s++) {
      const dNormed = new Float64Array(H);
      applyBack(w(layer, "self_attn.q_proj"), g(layer, "self_attn.q_proj"), normed[s].y, rotate(dq[s], s, -1), dNormed);
      applyBack(w(layer, "self_attn.k_proj"), g(layer, "self_attn.k_proj"), normed[s].y, rotate(dk[s], s, -1), dNormed);
      applyBack(w(layer, "self_attn.v_proj"), g(layer, "self_attn.v_proj"), normed[s].y, dv[s], dNormed);
      normBack(start[s], normed[s].r, w(layer, "input_layernorm"), g(layer, "input_layernorm"), dNormed, dStart[s]);
    }
    dx = dStart;
  }
  const dEmbedding = gradient.get("model.embed_tokens.weight")!;
  row.tokens.forEach((token, s) => {
    for (let i = 0; i < H; i++) dEmbedding[token * H + i] += dx[s][i];
  });
  return { loss, gradient };
}
