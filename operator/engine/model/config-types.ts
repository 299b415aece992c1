/** Rotary position embedding variants, with the names of Hugging Face's `rope_scaling.rope_type`. */
export type RopeScaling =
  | { type: "none" }
  | { type: "linear"; factor: number }
  | {
      type: "llama3";
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      originalMaxPositions: number;
    }
  | {
      type: "yarn";
      factor: number;
      betaFast: number;
      betaSlow: number;
      /** Multiplies cos and sin. */
      attentionFactor: number;
      truncate: boolean;
      originalMaxPositions: number;
    };

export type ModelFamily = "llama" | "mistral" | "qwen2" | "qwen3";

/** What the engine needs to know about a decoder-only model. All sizes are numbers of elements. */
export interface ModelConfig {
  readonly family: ModelFamily;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Longest sequence, in tokens, that the model was made for. */
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Per layer: how many latest tokens (itself included) a token attends to, or null for all. */
  readonly windows: readonly (number | null)[];
  /** The head's matrix is the embedding's. */
  readonly tiedEmbeddings: boolean;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** RMS norm of each query and key head before the rotation (Qwen3). */
  readonly qkNorm: boolean;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
}
