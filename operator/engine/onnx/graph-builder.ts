import { bytesOf, type ElementType } from "./element-type.ts";

/** A dimension: a number of elements, or a name for one that is known at run time only. */
export type Dim = number | string;

/** Name of a tensor in a graph. The empty string leaves an optional input out. */
export type TensorName = string;

/** Marks a float attribute: a bare number always means an integer, so that `1.0` is never written as an int. */
export interface FloatAttribute {
  readonly float: number;
}
export interface FloatsAttribute {
  readonly floats: readonly number[];
}
/** Integer, integers, string, float, floats or a subgraph (for `If`, `Loop`). */
export type Attribute = number | readonly number[] | string | FloatAttribute | FloatsAttribute | GraphBuilder;

export interface GraphNode {
  readonly op: string;
  /** "" for the standard operators, "com.microsoft" for ONNX Runtime's own. */
  readonly domain: string;
  readonly inputs: readonly TensorName[];
  readonly outputs: readonly TensorName[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface TensorInfo {
  readonly name: TensorName;
  readonly type: ElementType;
  readonly dims: readonly Dim[];
}

/** A constant tensor. `external` ones are written beside the model and mapped into memory by the runtime. */
export interface Initializer extends TensorInfo {
  readonly dims: readonly number[];
  readonly byteLength: number;
  readonly external: boolean;
  /** Another external initializer whose bytes these are, under another shape. */
  readonly sameAs?: TensorName;
  /** Little-endian raw data, produced when asked for so that large weights need not be in memory at once. */
  readonly bytes: () => Uint8Array;
}

export type TensorData =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Int8Array
  | Uint16Array;

export interface NodeOptions {
  /** Names of the outputs, or how many unnamed ones to make (default 1). An empty name skips an output. */
  outputs?: number | readonly TensorName[];
  domain?: string;
}

/** Marks a float attribute, e.g. `{ epsilon: float(1e-5) }`. */
export const float = (value: number): FloatAttribute => ({ float: value });

/** Marks a list of float attributes. */
export const floats = (values: readonly number[]): FloatsAttribute => ({ floats: values });

/** Operators that live in the com.microsoft domain and are used by this project without naming it. */
const MICROSOFT = new Set([
  "FusedMatMul",
  "GatherBlockQuantized",
  "GroupQueryAttention",
  "MatMulIntegerToFloat",
  "MatMulNBits",
  "MultiHeadAttention",
  "PagedAttention",
  "QuickGelu",
  "RotaryEmbedding",
  "SkipSimplifiedLayerNormalization",
  "SparseAttention",
]);

/**
 * Builds an ONNX graph node by node, and keeps it as a plain list that other code (differentiation, cost models) walks.
 *
 * ```ts
 * const g = new GraphBuilder("double");
 * const x = g.input("x", "float32", ["n"]);
 * g.output(g.op("Add", [x, x]), "float32", ["n"], "y");
 * const model = serialiseModel(g);
 * ```
 *
 * Nodes stand in the order in which they were added; an input must exist before the node that reads it.
 */
export class GraphBuilder {
  readonly name: string;
  readonly nodes: GraphNode[] = [];
  readonly inputs: TensorInfo[] = [];
  readonly outputs: TensorInfo[] = [];
  readonly initializers = new Map<TensorName, Initializer>();
  private readonly known = new Set<TensorName>();
  private readonly outer: GraphBuilder | undefined;
  private readonly constants = new Map<string, TensorName>();
  private readonly counter: { next: number };

  /** @param outer graph whose tensors a subgraph may read (bodies of `If` and `Loop`). */
  constructor(name: string, outer?: GraphBuilder) {
    this.name = name;
    this.outer = outer;
    // Names are unique over all nested graphs: ONNX forbids shadowing.
    this.counter = outer ? outer.counter : { next: 0 };
  }

  /** Declares a graph input. @throws if the name is taken. */
  input(name: TensorName, type: ElementType, dims: readonly Dim[]): TensorName {
    this.define(name);
    this.inputs.push({ name, type, dims });
    return name;
  }

  /**
   * Declares a graph output. With `as`, an Identity gives the tensor that public name.
   * @throws if the tensor does not exist.
   */
  output(tensor: TensorName, type: ElementType, dims: readonly Dim[], as?: TensorName): TensorName {
    this.require(tensor);
    const name = as === undefined || as === tensor ? tensor : this.node("Identity", [tensor], {}, { outputs: [as] })[0];
    this.outputs.push({ name, type, dims });
    return name;
  }

  /** Adds a node with several outputs and returns their names. @throws on an unknown input. */
  node(
    op: string,
    inputs: readonly TensorName[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: NodeOptions = {},
  ): TensorName[] {
    for (const input of inputs) if (input !== "") this.require(input);
    const wanted = options.outputs ?? 1;
    const outputs = typeof wanted === "number" ? Array.from({ length: wanted }, () => this.fresh(op)) : [...wanted];
    for (const output of outputs) if (output !== "") this.define(output);
    const domain = options.domain ?? (MICROSOFT.has(op) ? "com.microsoft" : "");
    this.nodes.push({ op, domain, inputs: [...inputs], outputs, attributes });
    return outputs;
  }

  /** Adds a node with one output and returns its name. */
  op(
    op: string,
    inputs: readonly TensorName[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output?: TensorName,
  ): TensorName {
    return this.node(op, inputs, attributes, output === undefined ? {} : { outputs: [output] })[0];
  }

  /** Adds a constant tensor stored inside the model file. @throws if data and dims disagree. */
  initializer(name: TensorName, type: ElementType, dims: readonly number[], data: TensorData): TensorName {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.addInitializer({ name, type, dims, byteLength: bytes.length, external: false, bytes: () => bytes });
  }

  /** Another shape or type of an external initializer's bytes. @throws if there is none of that name. */
  alias(name: TensorName, type: ElementType, dims: readonly number[], of: TensorName): TensorName {
    const original = this.initializers.get(of);
    if (!original?.external) throw new Error(`${of} is no external initializer.`);
    const { byteLength, bytes } = original;
    return this.addInitializer({ name, type, dims, byteLength, external: true, bytes, sameAs: of });
  }

  /** Adds a constant tensor stored beside the model file (`saveModel`); `bytes` runs once, while writing. */
  externalInitializer(
    name: TensorName,
    type: ElementType,
    dims: readonly number[],
    bytes: () => Uint8Array,
  ): TensorName {
    const byteLength = bytesOf(type, product(dims));
    return this.addInitializer({ name, type, dims, byteLength, external: true, bytes });
  }

  /** A 1-D int64 constant, shared between uses; for shapes, axes and indices. */
  ints(values: readonly number[]): TensorName {
    const key = `i:${values.join(",")}`;
    return this.constant(key, "int64", [values.length], () => BigInt64Array.from(values, BigInt));
  }

  /** A scalar int64 constant, shared between uses. */
  int(value: number): TensorName {
    return this.constant(`s:${value}`, "int64", [], () => BigInt64Array.of(BigInt(value)));
  }

  /** A scalar float32 constant, shared between uses. */
  scalar(value: number): TensorName {
    return this.constant(`f:${value}`, "float32", [], () => Float32Array.of(value));
  }

  /** Whether a tensor of this name exists here or in an outer graph. */
  has(tensor: TensorName): boolean {
    return this.known.has(tensor) || (this.outer?.has(tensor) ?? false);
  }

  private constant(key: string, type: ElementType, dims: number[], data: () => TensorData): TensorName {
    const existing = this.constants.get(key);
    if (existing !== undefined) return existing;
    const name = this.initializer(this.fresh("const"), type, dims, data());
    this.constants.set(key, name);
    return name;
  }

  private addInitializer(initializer: Initializer): TensorName {
    const { name, type, dims, byteLength } = initializer;
    const expected = bytesOf(type, product(dims));
    if (byteLength !== expected) {
      throw new Error(`Initializer ${name}: ${type}[${dims}] takes ${expected} bytes, got ${byteLength}.`);
    }
    this.define(name);
    this.initializers.set(name, initializer);
    return name;
  }

  private fresh(hint: string): TensorName {
    return `${hint}_${this.counter.next++}`;
  }

  private define(name: TensorName): void {
    if (name === "") throw new Error("A tensor needs a name.");
    if (this.has(name)) throw new Error(`Tensor ${name} is defined twice.`);
    this.known.add(name);
  }

  private require(name: TensorName): void {
    if (!this.has(name)) throw new Error(`Tensor ${name} is used before it is defined.`);
  }
}

function product(dims: readonly number[]): number {
  return dims.reduce((total, dim) => total * dim, 1);
}
