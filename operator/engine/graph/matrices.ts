import { QUANT_BLOCK, type QuantisedMatrix, quantise } from "../model/quantise.ts";
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

  constructor(options: MatrixOptions, sources: ReadonlyMap<string, MatrixSource>) {
    this.options = options;
    this.sources = sources;
  }

  /** `x[N, inputs]` times a matrix: `[N, outputs]`, its bias added. `output` names the result. */
  multiply(
    g: GraphBuilder,
    x: TensorName,
    name: string,
    outputs: number,
    inputs: number,
    output?: TensorName,
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

  private source(name: string): MatrixSource {
    const source = this.sources.get(name);
    if (!source) throw new Error(`No weights are known for ${name}.`);
    return source;
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
