/** The models and adapters of `shapes.ts` as GGUF files: the same weights, for llama.cpp. */
import { join } from "node:path";
import type { StreamedTensor } from "../../../operator/engine/model/safetensors-writer.ts";
import {
  type AdapterOptions,
  adapterTensors,
  modelTensors,
  once,
  SHAPES,
  type Shape,
  type ShapeName,
  TARGETS,
  type Target,
} from "../shapes.ts";
import { generateTokenizer } from "../tokenizer.ts";
import { type GgufTensor, type GgufTensorType, type GgufValue, writeGguf } from "./gguf.ts";

const BLOCK_NAMES: Record<Target, string> = {
  q_proj: "attn_q",
  k_proj: "attn_k",
  v_proj: "attn_v",
  o_proj: "attn_output",
  gate_proj: "ffn_gate",
  up_proj: "ffn_up",
  down_proj: "ffn_down",
};

/** Path of a shape's weights as a GGUF file. Matrices in `type`, the tied embedding included; norms in f32. */
export function ggufModel(name: ShapeName, type: GgufTensorType, seed = 1): string {
  const s = SHAPES[name];
  const folder = once(join("gguf", `${name}-${type}-${seed}`), (draft) => {
    const tensors = modelTensors(s, seed).map((tensor) => ggufTensor(s, tensor, type));
    writeGguf(join(draft, "model.gguf"), modelMetadata(name, s, type), tensors);
  });
  return join(folder, "model.gguf");
}

/** Path of adapter number `index` of a shape as a GGUF file, in f32. */
export function ggufAdapter(name: ShapeName, index: number, options: AdapterOptions = {}): string {
  const s = SHAPES[name];
  const { label, alpha, tensors } = adapterTensors(name, index, options);
  const folder = once(join("gguf-adapters", label, String(index).padStart(5, "0")), (draft) => {
    const metadata: Record<string, GgufValue> = {
      "general.type": { type: "string", value: "adapter" },
      "general.architecture": { type: "string", value: s.family },
      "adapter.type": { type: "string", value: "lora" },
      "adapter.lora.alpha": { type: "float32", value: alpha },
    };
    const converted = tensors.map((tensor) => ggufTensor(s, tensor, "f32"));
    writeGguf(join(draft, "adapter.gguf"), metadata, converted);
  });
  return join(folder, "adapter.gguf");
}

function modelMetadata(name: string, s: Shape, type: GgufTensorType): Record<string, GgufValue> {
  const tokenizer = generateTokenizer(s.vocab);
  const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
  const float32 = (value: number): GgufValue => ({ type: "float32", value });
  const string = (value: string): GgufValue => ({ type: "string", value });
  const arch = s.family;
  const special = new Set(tokenizer.special);
  return {
    "general.architecture": string(arch),
    "general.name": string(`openledger-bench ${name}`),
    "general.file_type": uint32(type === "f32" ? 0 : 2),
    [`${arch}.context_length`]: uint32(s.maxPositions),
    [`${arch}.embedding_length`]: uint32(s.hidden),
    [`${arch}.block_count`]: uint32(s.layers),
    [`${arch}.feed_forward_length`]: uint32(s.inter),
    [`${arch}.attention.head_count`]: uint32(s.heads),
    [`${arch}.attention.head_count_kv`]: uint32(s.kvHeads),
    [`${arch}.attention.layer_norm_rms_epsilon`]: float32(s.epsilon),
    [`${arch}.rope.freq_base`]: float32(s.ropeTheta),
    [`${arch}.rope.dimension_count`]: uint32(s.hidden / s.heads),
    [`${arch}.vocab_size`]: uint32(s.vocab),
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("gpt-2"),
    "tokenizer.ggml.tokens": { type: "strings", value: tokenizer.tokens },
    "tokenizer.ggml.token_type": {
      type: "int32s",
      value: tokenizer.tokens.map((token) => (special.has(token) ? 3 : 1)),
    },
    "tokenizer.ggml.merges": { type: "strings", value: tokenizer.merges.map((pair) => pair.join(" ")) },
    "tokenizer.ggml.bos_token_id": uint32(0),
    "tokenizer.ggml.eos_token_id": uint32(2),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
    "tokenizer.chat_template": string(tokenizer.chatTemplate),
  };
}

function ggufTensor(s: Shape, tensor: StreamedTensor, type: GgufTensorType): GgufTensor {
  const { name, shape } = tensor;
  const target = TARGETS.find((candidate) => name.includes(`.${candidate}.`));
  // llama.cpp turns pairs of neighbours in the Llama architecture, where Hugging Face turns the halves of a head.
  const rows = s.family === "llama" && (target === "q_proj" || target === "k_proj") && !name.includes("lora_A");
  const heads = target === "k_proj" ? s.kvHeads : s.heads;
  return {
    name: ggufName(name, target),
    shape,
    type: shape.length === 2 && !name.includes("lora_") ? type : "f32",
    values: () => (rows ? interleaveHalves(materialise(tensor), shape, heads) : materialise(tensor)),
  };
}

function ggufName(name: string, target: Target | undefined): string {
  if (name === "model.embed_tokens.weight") return "token_embd.weight";
  if (name === "model.norm.weight") return "output_norm.weight";
  const layer = /layers\.(\d+)\./.exec(name)?.[1];
  if (name.endsWith("input_layernorm.weight")) return `blk.${layer}.attn_norm.weight`;
  if (name.endsWith("post_attention_layernorm.weight")) return `blk.${layer}.ffn_norm.weight`;
  if (layer === undefined || target === undefined) throw new Error(`${name} has no name in GGUF`);
  const block = `blk.${layer}.${BLOCK_NAMES[target]}`;
  if (name.endsWith("lora_A.weight")) return `${block}.weight.lora_a`;
  if (name.endsWith("lora_B.weight")) return `${block}.weight.lora_b`;
  return `${block}.${name.endsWith(".bias") ? "bias" : "weight"}`;
}

function materialise({ shape, pieces }: StreamedTensor): Float32Array {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  let at = 0;
  for (const piece of pieces?.() ?? []) {
    values.set(piece, at);
    at += piece.length;
  }
  return values;
}

/** Within each head, row i of the first half and row i of the second become neighbours. */
function interleaveHalves(values: Float32Array, shape: readonly number[], heads: number): Float32Array {
  const rows = shape[0];
  const columns = values.length / rows;
  const headRows = rows / heads;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const within = row % headRows;
    const half = headRows / 2;
    const place = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
    out.set(values.subarray(row * columns, (row + 1) * columns), place * columns);
  }
  return out;
}
