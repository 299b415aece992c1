import {
  dequantise,
  QUANT_BLOCK,
  type QuantisedMatrix,
  quantise,
  quantiseRows,
  type TransposedInt8,
} from "../model/quantise.ts";
import { float, type GraphBuilder, type TensorName } from "../onnx/graph-builder.ts";

export type Quantisation = "f32" | "q8" | "q4";

/** How the large matrices are stored and multiplied. */
export interface MatrixOptions {
  readonly quantisation: Quantisation;
  /**
   * Exact: products in float32, so that a row's result does not depend on its batch. Fast: activations rounded to
   * int8 for quantised matrices, about twice as fast.
   */
  readonly exact: boolean;
  /**
   * Products of 8-bit weights, one scale per output, with activations rounded to 8 bits, one scale per token. Not for
   * exact mode. Processors with units for such products (Intel AMX) compute them 4 to 16 times as fast from a few
   * tokens on; a single token waits for twice the memory of 4-bit weights.
   */
  readonly int8?: boolean;
}

/** A matrix of the model, stacked from one or more tensors that read the same input. */
export interface MatrixSource {
  /** `[outputs, inputs]` row major. Read when the file of weights is written. */
  weights(): Float32Array;
  bias?(): Float32Array;
}

/**
 * Writes matrices into graphs. Several graphs share one file of weights, so every graph that uses a matrix names it
 * alike and the bytes are made once.
 */
export class Matrices {
  private readonly options: MatrixOptions;
  private readonly sources: ReadonlyMap<string, MatrixSource>;
  private last: { name: string; matrix: QuantisedMatrix } | undefined;
  private lastInt8: { name: string; matrix: TransposedInt8 } | undefined;

  constructor(options: MatrixOptions, sources: ReadonlyMap<string, MatrixSource>) {
    this.options = options;
    this.sources = sources;
  }

  /**
   * `x[N, inputs]` times a matrix: `[N, outputs]`, its bias added.
   *
   * @param output name of the result
   * @param watched false where a NaN among the inputs may disappear, because it will show elsewhere in this step
   */
  multiply(
    g: GraphBuilder,
    x: TensorName,
    name: string,
    outputs: number,
    inputs: number,
    output?: TensorName,
    watched = true,
  ): TensorName {
    const source = this.source(name);
    const bias = source.bias ? this.vector(g, `${name}.bias`, outputs, () => source.bias!()) : "";
    const bits = this.bits(inputs);
    if (bits === null) {
      return g.op(
        "Gemm",
        [x, this.floats(g, name, outputs, inputs), ...(bias === "" ? [] : [bias])],
        { transB: 1 },
        output,
      );
    }
    if (this.options.int8) {
      const codes = this.int8(g, name, outputs, inputs, bits);
      const product = multiplyInt8(g, x, codes, watched, bias === "" ? output : undefined);
      return bias === "" ? product : g.op("Add", [product, bias], {}, output);
    }
    const { codes, scales } = this.quantised(g, name, outputs, inputs, bits);
    const attributes = {
      K: inputs,
      N: outputs,
      bits,
      block_size: QUANT_BLOCK,
      accuracy_level: this.options.exact ? 1 : 4,
    };
    return g.op("MatMulNBits", [x, codes, scales, ...(bias === "" ? [] : ["", "", bias])], attributes, output);
  }

  /** Rows of a matrix, such as an embedding: `[N, columns]`. */
  rows(g: GraphBuilder, ids: TensorName, name: string, rows: number, columns: number): TensorName {
    const bits = this.bits(columns);
    if (bits === null) return g.op("Gather", [this.floats(g, name, rows, columns), ids]);
    const { codes, scales } = this.quantised(g, name, rows, columns, bits);
    // The same bytes under the shape that this operator reads.
    const table = g.alias(`${name}.table`, "uint8", [rows, (columns * bits) / 8], codes);
    const attributes = { gather_axis: 0, quantize_axis: 1, block_size: QUANT_BLOCK, bits };
    return g.op("GatherBlockQuantized", [table, ids, scales], attributes);
  }

  /** A small tensor, kept in float32 under every quantisation. */
  vector(g: GraphBuilder, name: string, length: number, values: () => Float32Array): TensorName {
    if (!g.has(name)) g.externalInitializer(name, "float32", [length], () => bytesOf(values()));
    return name;
  }

  /** RMS norm over the last axis. */
  norm(g: GraphBuilder, x: TensorName, name: string, length: number, epsilon: number): TensorName {
    const scale = this.vector(g, name, length, () => this.source(name).weights());
    return g.op("SimplifiedLayerNormalization", [x, scale], { axis: -1, epsilon: float(epsilon), stash_type: 1 });
  }

  /** RMS norm of `x + residual`, and that sum. */
  addNorm(g: GraphBuilder, x: TensorName, residual: TensorName, name: string, length: number, epsilon: number) {
    const scale = this.vector(g, name, length, () => this.source(name).weights());
    const sum = `${name}.sum`;
    const outputs = [`${name}.out`, "", "", sum];
    const inputs = [x, residual, scale];
    const [normed] = g.node("SkipSimplifiedLayerNormalization", inputs, { epsilon: float(epsilon) }, { outputs });
    return { normed, sum };
  }

  /** Matrices whose rows do not divide into blocks stay in float32. */
  private bits(inputs: number): 4 | 8 | null {
    if (this.options.quantisation === "f32" || inputs % QUANT_BLOCK !== 0) return null;
    return this.options.quantisation === "q4" ? 4 : 8;
  }

  private floats(g: GraphBuilder, name: string, rows: number, columns: number): TensorName {
    if (!g.has(name)) {
      g.externalInitializer(name, "float32", [rows, columns], () => bytesOf(this.source(name).weights()));
    }
    return name;
  }

  private quantised(g: GraphBuilder, name: string, rows: number, columns: number, bits: 4 | 8) {
    const blocks = columns / QUANT_BLOCK;
    const codes = `${name}.codes`;
    const scales = `${name}.scales`;
    if (!g.has(codes)) {
      const shape = [rows, blocks, (QUANT_BLOCK * bits) / 8];
      g.externalInitializer(codes, "uint8", shape, () => this.matrix(name, columns, bits).codes);
      g.externalInitializer(scales, "float32", [rows, blocks], () => bytesOf(this.matrix(name, columns, bits).scales));
    }
    return { codes, scales };
  }

  /** Codes and scales are written one after the other: keeping the latest matrix avoids making it twice. */
  private matrix(name: string, columns: number, bits: 4 | 8): QuantisedMatrix {
    if (this.last?.name !== name) this.last = { name, matrix: quantise(this.source(name).weights(), columns, bits) };
    return this.last.matrix;
  }

  private int8(g: GraphBuilder, name: string, outputs: number, inputs: number, bits: 4 | 8): Int8Names {
    const names = { codes: `${name}.int8`, scales: `${name}.int8.scales` };
    if (!g.has(names.codes)) {
      const matrix = () => this.matrixInt8(name, inputs, bits);
      g.externalInitializer(names.codes, "int8", [inputs, outputs], () => new Uint8Array(matrix().codes.buffer));
      g.externalInitializer(names.scales, "float32", [outputs], () => bytesOf(matrix().scales));
    }
    return names;
  }

  /** Made from the weights that the codes of few bits stand for: all graphs of a model compute with the same ones. */
  private matrixInt8(name: string, columns: number, bits: 4 | 8): TransposedInt8 {
    if (this.lastInt8?.name !== name) {
      const matrix = quantiseRows(dequantise(this.matrix(name, columns, bits), bits), columns);
      this.lastInt8 = { name, matrix };
    }
    return this.lastInt8.matrix;
  }

  private source(name: string): MatrixSource {
    const source = this.sources.get(name);
    if (!source) throw new Error(`No weights are known for ${name}.`);
    return source;
  }
}

interface Int8Names {
  readonly codes: TensorName;
  readonly scales: TensorName;
}

/**
 * Every token is divided by its own largest magnitude, rounded, multiplied in whole numbers and scaled back: tokens do
 * not touch each other.
 */
function multiplyInt8(
  g: GraphBuilder,
  x: TensorName,
  { codes, scales }: Int8Names,
  watched: boolean,
  output?: TensorName,
): TensorName {
  const [step, zero] = ["int8.step", "int8.zero"];
  if (!g.has(step)) {
    g.initializer(step, "float32", [], Float32Array.of(1 / 127));
    g.initializer(zero, "uint8", [], Uint8Array.of(128));
  }
  const magnitudes = g.op("Abs", [x]);
  let largest = g.op("ReduceMax", [magnitudes, g.ints([-1])], { keepdims: 1 });
  if (watched) {
    // Neither the largest of several numbers nor a rounded one shows a NaN among them; their sum does.
    const sum = g.op("ReduceSum", [magnitudes, g.ints([-1])], { keepdims: 1 });
    largest = g.op("Add", [largest, g.op("Mul", [sum, g.scalar(0)])]);
  }
  const rounded = g.op("QuantizeLinear", [g.op("Div", [x, largest]), step, zero]);
  return g.op("Mul", [g.op("MatMulIntegerToFloat", [rounded, codes, step, scales, zero]), largest], {}, output);
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
