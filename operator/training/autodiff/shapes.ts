import type { Attribute, GraphBuilder, GraphNode, TensorName } from "../../engine/onnx/graph-builder.ts";

/** Static shape of a tensor. Training graphs are built for one batch shape, so that every dimension is a number. */
export type Shape = readonly number[];

type Infer = (inputs: Shape[], node: GraphNode, graph: GraphBuilder) => Shape[];

/**
 * Knows the shape of every tensor of a graph with static inputs.
 *
 * Differentiation needs shapes to undo broadcasting, to reshape back and to make zeros. Nodes added later are inferred
 * when their outputs are asked for.
 */
export class Shapes {
  private readonly graph: GraphBuilder;
  private readonly known = new Map<TensorName, Shape>();
  private next = 0;

  constructor(graph: GraphBuilder) {
    this.graph = graph;
  }

  /** @throws if the tensor's operator has no shape rule here, or a dimension has only a name. */
  of(tensor: TensorName): Shape {
    const found = this.known.get(tensor) ?? this.declared(tensor);
    if (found !== undefined) return found;
    while (this.next < this.graph.nodes.length) this.infer(this.graph.nodes[this.next++]);
    const shape = this.known.get(tensor);
    if (shape === undefined) throw new Error(`The shape of ${tensor} is not known.`);
    return shape;
  }

  private declared(tensor: TensorName): Shape | undefined {
    const info = this.graph.initializers.get(tensor) ?? this.graph.inputs.find(({ name }) => name === tensor);
    if (info === undefined) return undefined;
    const dims = info.dims.map((dim) => {
      if (typeof dim === "string")
        throw new Error(`${tensor} has the dimension ${dim}; differentiation wants numbers.`);
      return dim;
    });
    this.known.set(tensor, dims);
    return dims;
  }

  private infer(node: GraphNode): void {
    const rule = INFER[node.op];
    if (rule === undefined) throw new Error(`${node.op} has no shape rule for differentiation.`);
    const inputs = node.inputs.map((name) => (name === "" ? [] : this.of(name)));
    const shapes = rule(inputs, node, this.graph);
    for (const [i, name] of node.outputs.entries()) if (name !== "") this.known.set(name, shapes[i]);
  }
}

/** Integer attribute, or `fallback` where the node leaves it out. */
export function intAttribute(node: GraphNode, name: string, fallback: number): number {
  const value = node.attributes[name];
  return typeof value === "number" ? value : fallback;
}

/** List-of-integers attribute. @throws if it is missing. */
export function intsAttribute(node: GraphNode, name: string): readonly number[] {
  const value = node.attributes[name];
  if (!isInts(value)) throw new Error(`${node.op} lacks the attribute ${name}.`);
  return value;
}

/** Float attribute, or `fallback` where the node leaves it out. */
export function floatAttribute(node: GraphNode, name: string, fallback: number): number {
  const value = node.attributes[name];
  return typeof value === "object" && "float" in value ? value.float : fallback;
}

function isInts(value: Attribute | undefined): value is readonly number[] {
  return Array.isArray(value);
}

/** Values of an int64 constant of the graph, such as the shape that Reshape reads. @throws if it is no constant. */
export function constantInts(graph: GraphBuilder, tensor: TensorName): number[] {
  const initializer = graph.initializers.get(tensor);
  if (initializer === undefined || initializer.type !== "int64") throw new Error(`${tensor} is not an int64 constant.`);
  const bytes = initializer.bytes();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)));
}

/** Number of elements. */
export const sizeOf = (shape: Shape): number => shape.reduce((total, dim) => total * dim, 1);

/** Shape after NumPy broadcasting. @throws if the shapes do not fit. */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new Error(`[${a}] and [${b}] do not broadcast.`);
    return Math.max(x, y);
  });
}

const same: Infer = ([x]) => [x];
const broadcasting: Infer = ([a, b]) => [broadcast(a, b)];

function matmul([a, b]: Shape[], transA: boolean, transB: boolean): Shape[] {
  const [m, k] = a.slice(-2);
  const [k2, n] = b.slice(-2);
  if ((transA ? m : k) !== (transB ? n : k2)) throw new Error(`[${a}] and [${b}] do not multiply.`);
  return [[...broadcast(a.slice(0, -2), b.slice(0, -2)), transA ? k : m, transB ? k2 : n]];
}

const axisOf = (node: GraphNode, shape: Shape, fallback: number): number => {
  const axis = intAttribute(node, "axis", fallback);
  return axis < 0 ? axis + shape.length : axis;
};

const INFER: Record<string, Infer> = {
  Identity: same,
  Neg: same,
  Exp: same,
  Sigmoid: same,
  Softmax: same,
  LogSoftmax: same,
  RotaryEmbedding: same,
  ScatterElements: same,
  Add: broadcasting,
  Sub: broadcasting,
  Mul: broadcasting,
  Div: broadcasting,
  MatMul: (inputs) => matmul(inputs, false, false),
  Gemm: (inputs, node) =>
    matmul(inputs.slice(0, 2), intAttribute(node, "transA", 0) === 1, intAttribute(node, "transB", 0) === 1),
  FusedMatMul: (inputs, node) =>
    matmul(inputs, intAttribute(node, "transA", 0) === 1, intAttribute(node, "transB", 0) === 1),
  SimplifiedLayerNormalization: ([x]) => [x, [...x.slice(0, -1), 1]],
  Gather: ([data, indices], node) => {
    const axis = axisOf(node, data, 0);
    return [[...data.slice(0, axis), ...indices, ...data.slice(axis + 1)]];
  },
  GatherElements: ([, indices]) => [indices],
  Transpose: ([x], node) => [intsAttribute(node, "perm").map((axis) => x[axis])],
  Reshape: ([x], node, graph) => {
    const wanted = constantInts(graph, node.inputs[1]).map((dim, i) => (dim === 0 ? x[i] : dim));
    const rest = sizeOf(x) / wanted.reduce((total, dim) => (dim === -1 ? total : total * dim), 1);
    return [wanted.map((dim) => (dim === -1 ? rest : dim))];
  },
  Expand: ([x], node, graph) => [broadcast(x, constantInts(graph, node.inputs[1]))],
  ReduceSum: ([x], node, graph) => {
    const axes = constantInts(graph, node.inputs[1]).map((axis) => (axis < 0 ? axis + x.length : axis));
    if (intAttribute(node, "keepdims", 1) === 1) return [x.map((dim, i) => (axes.includes(i) ? 1 : dim))];
    return [x.filter((_, i) => !axes.includes(i))];
  },
  Concat: (inputs, node) => {
    const axis = axisOf(node, inputs[0], 0);
    const total = inputs.reduce((sum, shape) => sum + shape[axis], 0);
    return [inputs[0].map((dim, i) => (i === axis ? total : dim))];
  },
  Split: ([x], node, graph) => {
    const axis = axisOf(node, x, 0);
    return constantInts(graph, node.inputs[1]).map((part) => x.map((dim, i) => (i === axis ? part : dim)));
  },
};
