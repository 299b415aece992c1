import { InferenceSession, Tensor } from "onnxruntime-node";
import { float, GraphBuilder } from "../engine/onnx/graph-builder.ts";
import { serialiseModel } from "../engine/onnx/serialise.ts";
import { YIELDING } from "./gradient-session.ts";
import type { Parameter, ParameterLayout } from "./parameters.ts";

export interface MuonSettings {
  /** Share of the momentum that stays after a step. */
  readonly momentum: number;
  /** Pull towards zero per step, times the learning rate. */
  readonly weightDecay: number;
}

/** a, b, c of X ← aX + (bA + cA²)X with A = XXᵀ: five rounds bring singular values from 0.001 to 1 near one. */
const QUINTIC = { a: 3.4445, b: -4.775, c: 2.0315 };
const ROUNDS = 5;

/**
 * Muon: momentum whose singular values are all brought near one before it moves a matrix, so that what is rare in the
 * text, and weak in the gradient, is learned as fast as what is frequent (Jordan et al. 2024; the Newton-Schulz
 * iteration and its coefficients are theirs).
 *
 * An orthogonal update of an r × c matrix has entries of root mean square 1/√max(r, c); times 0.2 · √max(r, c) it moves
 * weights about as far as Adam does, and both follow one learning rate (Liu et al. 2025, "Muon is scalable for LLM
 * training", eq. 4).
 */
export class Muon {
  private readonly settings: MuonSettings;
  private readonly groups: readonly Group[];
  private readonly session: InferenceSession;

  private constructor(settings: MuonSettings, groups: readonly Group[], session: InferenceSession) {
    this.settings = settings;
    this.groups = groups;
    this.session = session;
  }

  /** Which parameters it is for: the matrices inside the layers. Embeddings, head and norms are Adam's. */
  static parametersOf(layout: ParameterLayout): Parameter[] {
    return layout.parameters.filter(({ name, shape }) => shape.length === 2 && name.startsWith("model.layers."));
  }

  /** @param parameters Matrices; those of one shape are orthogonalised together. */
  static async open(parameters: readonly Parameter[], settings: MuonSettings, threads: number): Promise<Muon> {
    const groups = [...Map.groupBy(parameters, ({ shape }) => shape.join(" x "))].map(([name, members]): Group => {
      const size = members.reduce((total, member) => total + member.size, 0);
      return { name, members, dims: [members.length, ...members[0].shape], momentum: new Float32Array(size) };
    });
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3, extra: YIELDING } as const;
    const session = await InferenceSession.create(serialiseModel(newtonSchulz(groups)), options);
    return new Muon(settings, groups, session);
  }

  /**
   * Moves its matrices in `values` against `gradient`; buffers have the layout of the parameters.
   *
   * @param momentum State that is kept from step to step.
   * @param scale Multiplies the gradient (clipping).
   */
  async update(
    values: Float32Array,
    gradient: Float32Array,
    momentum: Float32Array,
    learningRate: number,
    scale: number,
  ): Promise<void> {
    const feeds: Record<string, Tensor> = {};
    for (const { name, members, dims, momentum: input } of this.groups) {
      let at = 0;
      for (const { offset, size } of members) {
        lookAhead(gradient, momentum, offset, scale, this.settings.momentum, input.subarray(at, at + size));
        at += size;
      }
      feeds[name] = new Tensor("float32", input, dims);
    }
    const moves = await this.session.run(feeds);
    const keep = 1 - learningRate * this.settings.weightDecay;
    for (const { name, members } of this.groups) {
      const move = moves[outputName(name)].data as Float32Array;
      let at = 0;
      for (const { offset, size, shape } of members) {
        const rate = learningRate * 0.2 * Math.sqrt(Math.max(...shape));
        for (let i = 0; i < size; i++) values[offset + i] = values[offset + i] * keep - rate * move[at + i];
        at += size;
      }
    }
  }

  close(): Promise<void> {
    return this.session.release();
  }
}

/** Matrices of one shape. */
interface Group {
  readonly name: string;
  readonly members: readonly Parameter[];
  /** Count, rows, columns. */
  readonly dims: readonly number[];
  /** What is orthogonalised, one matrix after the other. */
  readonly momentum: Float32Array;
}

const outputName = (group: string): string => `orthogonal ${group}`;

/** Adds the gradient to the momentum of one matrix and writes where it will be next (Nesterov), of length one, to `out`. */
function lookAhead(
  gradient: Float32Array,
  momentum: Float32Array,
  offset: number,
  scale: number,
  share: number,
  out: Float32Array,
): void {
  let sum = 0;
  for (let i = 0; i < out.length; i++) {
    const g = gradient[offset + i] * scale;
    const m = share * momentum[offset + i] + g;
    const next = g + share * m;
    momentum[offset + i] = m;
    out[i] = next;
    sum += next * next;
  }
  const shrink = 1 / (Math.sqrt(sum) + 1e-7);
  for (let i = 0; i < out.length; i++) out[i] *= shrink;
}

/** Graph that brings the singular values of every group's matrices near one. Their lengths must be at most one. */
function newtonSchulz(groups: readonly Group[]): GraphBuilder {
  const g = new GraphBuilder("newton_schulz");
  const [a, b] = [g.scalar(QUINTIC.a), g.scalar(QUINTIC.b)];
  for (const { name, dims } of groups) {
    const wide = dims[1] <= dims[2];
    let x = g.input(name, "float32", dims);
    for (let round = 0; round < ROUNDS; round++) {
      // The smaller of XXᵀ and XᵀX: for a tall matrix the same iteration from the right.
      const gram = g.op("FusedMatMul", [x, x], wide ? { transB: 1 } : { transA: 1 });
      const square = g.op("FusedMatMul", [gram, gram], { alpha: float(QUINTIC.c) });
      const polynomial = g.op("Add", [g.op("Mul", [gram, b]), square]);
      const moved = g.op("MatMul", wide ? [polynomial, x] : [x, polynomial]);
      x = g.op("Add", [g.op("Mul", [x, a]), moved]);
    }
    g.output(x, "float32", dims, outputName(name));
  }
  return g;
}
