import { readModelConfig } from "../engine/model/config.ts";
import type { ModelConfig } from "../engine/model/config-types.ts";
import { expectedTensors, ModelWeights } from "../engine/model/model-weights.ts";
import { type ModelTokenizer, readTokenizer } from "../engine/model/tokenizer.ts";
import type { ParameterValues } from "./gradient-session.ts";
import { ParameterLayout } from "./parameters.ts";

/** A model folder in memory, as float32. */
export interface TrainableModel {
  readonly config: ModelConfig;
  readonly tokenizer: ModelTokenizer;
  readonly weights: ParameterValues;
  /** Token that ends an answer. */
  readonly end: number;
}

/** Reads a Hugging Face model folder. @throws ModelFormatError */
export function readTrainableModel(folder: string): TrainableModel {
  const config = readModelConfig(folder);
  const [end] = config.eosTokenIds;
  if (end === undefined) throw new Error(`${folder} names no eos_token_id: nothing would end an answer.`);
  const layout = new ParameterLayout(expectedTensors(config));
  const values = new Float32Array(layout.size);
  const files = new ModelWeights(folder, config);
  try {
    for (const { name } of layout.parameters) layout.view(values, name).set(files.read(name));
  } finally {
    files.close();
  }
  return { config, tokenizer: readTokenizer(folder, config.vocabSize), weights: { layout, values }, end };
}
