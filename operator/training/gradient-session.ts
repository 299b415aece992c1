import { InferenceSession, Tensor } from "onnxruntime-node";
import type { ModelConfig } from "../engine/model/config-types.ts";
import { serialiseModel } from "../engine/onnx/serialise.ts";
import { attentionMask, type Batch, positionIds, rotaryTables } from "./batch.ts";
import type { BatchShape } from "./graph/decoder.ts";
import {
  BATCH_INPUTS,
  buildTrainingGraph,
  gradientName,
  type LoraPlan,
  maskName,
  OUTPUTS,
} from "./graph/training-graph.ts";
import type { ParameterLayout } from "./parameters.ts";

/**
 * Session option: threads that wait sleep at once. The sessions of a training take turns on the same processors, and one
 * whose threads still spin takes them from the next.
 */
export const YIELDING = { session: { intra_op: { allow_spinning: "0" } } };

/** Weights in host memory under one layout. */
export interface ParameterValues {
  readonly layout: ParameterLayout;
  readonly values: Float32Array;
}

export interface LossOptions {
  readonly config: ModelConfig;
  /** The model's weights; trained in place when there is no `lora`. */
  readonly base: ParameterValues;
  /** Adapter factors in PEFT's names, and their plan. */
  readonly lora?: ParameterValues & { readonly plan: LoraPlan };
  readonly threads: number;
}

/** Loss and log-probability of each target of one batch. */
export interface BatchLoss {
  readonly loss: number;
  /** Per position; meaningless where the batch's weight is 0. */
  readonly logProbabilities: Float32Array;
}

/**
 * Loss, gradients and predictions of a model in memory. One ONNX Runtime session per batch shape, made when first used.
 *
 * The weights are read where they stand: change them between calls and the next call sees it. A call blocks its thread.
 */
export class GradientSession {
  private readonly options: LossOptions;
  private readonly sessions = new Map<string, Promise<BoundSession>>();
  private readonly trained: ParameterValues;

  constructor(options: LossOptions) {
    this.options = options;
    this.trained = options.lora ?? options.base;
  }

  /** Layout and values of what is trained: the adapter if there is one, else the model. */
  get parameters(): ParameterValues {
    return this.trained;
  }

  /** Processors that a run uses. */
  get threads(): number {
    return this.options.threads;
  }

  /** Adds the gradient of the batch's loss to `gradient`, which has the trained layout. */
  async accumulate(batch: Batch, gradient: Float32Array): Promise<BatchLoss> {
    const results = await this.run(batch, "gradients");
    for (const { name, offset, size } of this.trained.layout.parameters) {
      const part = results[gradientName(name)].data as Float32Array;
      for (let i = 0; i < size; i++) gradient[offset + i] += part[i];
    }
    return lossOf(results);
  }

  /** Likeliest next token at every position. */
  async predict(batch: Batch): Promise<BatchLoss & { predictions: BigInt64Array }> {
    const results = await this.run(batch, "predictions");
    return { ...lossOf(results), predictions: results[OUTPUTS.predictions].data as BigInt64Array };
  }

  async close(): Promise<void> {
    const open = [...this.sessions.values()];
    this.sessions.clear();
    for (const bound of open) await (await bound).session.release();
  }

  private async run(batch: Batch, purpose: Purpose): Promise<Results> {
    const { rows, length } = batch.shape;
    const key = `${purpose} ${rows} ${length}`;
    let bound = this.sessions.get(key);
    if (bound === undefined) {
      bound = this.open(batch.shape, purpose);
      this.sessions.set(key, bound);
    }
    const { session, feeds } = await bound;
    const count = rows * length;
    feeds[BATCH_INPUTS.tokens] = new Tensor("int64", batch.tokens, [count]);
    feeds[BATCH_INPUTS.targets] = new Tensor("int64", batch.targets, [count, 1]);
    feeds[BATCH_INPUTS.weights] = new Tensor("float32", batch.weights, [count, 1]);
    return session.run(feeds);
  }

  private async open(shape: BatchShape, purpose: Purpose): Promise<BoundSession> {
    const { config, base, lora, threads } = this.options;
    const graph = buildTrainingGraph({ config, shape, purpose, ...(lora === undefined ? {} : { lora: lora.plan }) });
    const session = await InferenceSession.create(serialiseModel(graph), {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: YIELDING,
    });
    const { rows, length } = shape;
    const { cos, sin } = rotaryTables(config, length);
    const half = config.headDim / 2;
    const feeds: Feeds = {
      [BATCH_INPUTS.positions]: new Tensor("int64", positionIds(shape), [rows, length]),
      [BATCH_INPUTS.cos]: new Tensor("float32", cos, [length, half]),
      [BATCH_INPUTS.sin]: new Tensor("float32", sin, [length, half]),
    };
    for (const window of new Set(config.windows)) {
      const mask = attentionMask(config, length, window);
      feeds[maskName(window)] = new Tensor("float32", mask, [mask.length / length, length]);
    }
    for (const { layout, values } of lora === undefined ? [base] : [base, lora]) {
      for (const { name, shape: dims } of layout.parameters) {
        feeds[name] = new Tensor("float32", layout.view(values, name), dims);
      }
    }
    return { session, feeds };
  }
}

type Purpose = "gradients" | "predictions";
type Feeds = Record<string, Tensor>;
type Results = InferenceSession.OnnxValueMapType;

interface BoundSession {
  session: InferenceSession;
  feeds: Feeds;
}

function lossOf(results: Results): BatchLoss {
  const loss = results[OUTPUTS.loss].data as Float32Array;
  return { loss: loss[0], logProbabilities: results[OUTPUTS.logProbabilities].data as Float32Array };
}
