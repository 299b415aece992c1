import type { GraphBuilder, GraphNode } from "../../../../operator/engine/onnx/graph-builder.ts";

/** A tensor in float64 (integers too). */
export interface Tensor64 {
  dims: number[];
  data: Float64Array;
}

/** Runs a graph node by node in float64: plain loops, no runtime. For checking derivatives to many digits. */
export function interpret(graph: GraphBuilder, inputs: Readonly<Record<string, Tensor64>>): Map<string, Tensor64> {
  const values = new Map<string, Tensor64>(Object.entries(inputs));
  for (const [name, initializer] of graph.initializers) {
    const bytes = initializer.bytes();
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    const data =
      initializer.type === "int64"
        ? Float64Array.from(new BigInt64Array(buffer), Number)
        : Float64Array.from(new Float32Array(buffer));
    values.set(name, { dims: [...initializer.dims], data });
  }
  for (const node of graph.nodes) {
    const operands = node.inputs.map((name) => values.get(name)!);
    const run = OPERATORS[node.op];
    if (!run) throw new Error(`The interpreter lacks ${node.op}.`);
    for (const [i, result] of run(operands, node).entries()) if (node.outputs[i]) values.set(node.outputs[i], result);
  }
  return values;
}

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const int = (node: GraphNode, name: string, fallback: number): number => (node.attributes[name] as number) ?? fallback;
const real = (node: GraphNode, name: string): number => (node.attributes[name] as { float: number })?.float ?? 1;

function strides(dims: readonly number[]): number[] {
  const out = new Array<number>(dims.length).fill(1);
  for (let i = dims.length - 2; i >= 0; i--) out[i] = out[i + 1] * dims[i + 1];
  return out;
}

/** Offset in a tensor of `dims` for an index into a broadcast shape. */
function offset(index: readonly number[], dims: readonly number[]): number {
  const step = strides(dims);
  const skip = index.length - dims.length;
  return dims.reduce((total, dim, i) => total + (dim === 1 ? 0 : index[i + skip] * step[i]), 0);
}

function* indices(dims: readonly number[]): Generator<number[]> {
  const total = size(dims);
  const step = strides(dims);
  for (let flat = 0; flat < total; flat++) yield dims.map((dim, i) => Math.floor(flat / step[i]) % dim);
}

function build(dims: number[], value: (index: number[]) => number): Tensor64 {
  const data = new Float64Array(size(dims));
  let at = 0;
  for (const index of indices(dims)) data[at++] = value(index);
  return { dims, data };
}

function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => Math.max(a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1));
}

type Operator = (operands: Tensor64[], node: GraphNode) => Tensor64[];

const pairwise =
  (f: (x: number, y: number) => number): Operator =>
  ([a, b]) => [build(broadcastDims(a.dims, b.dims), (i) => f(a.data[offset(i, a.dims)], b.data[offset(i, b.dims)]))];

const each =
  (f: (x: number) => number): Operator =>
  ([a]) => [{ dims: a.dims, data: a.data.map(f) }];

/** Applies `f` to each row along the last axis. */
const rows =
  (f: (row: Float64Array) => Float64Array): Operator =>
  ([a]) => {
    const width = a.dims.at(-1)!;
    const data = new Float64Array(a.data.length);
    for (let at = 0; at < data.length; at += width) data.set(f(a.data.subarray(at, at + width)), at);
    return [{ dims: a.dims, data }];
  };

function multiply(a: Tensor64, b: Tensor64, transA: boolean, transB: boolean, alpha: number): Tensor64 {
  const [m, k] = transA ? a.dims.slice(-2).reverse() : a.dims.slice(-2);
  const n = b.dims.at(transB ? -2 : -1)!;
  const batches = broadcastDims(a.dims.slice(0, -2), b.dims.slice(0, -2));
  const data = new Float64Array(size(batches) * m * n);
  let at = 0;
  for (const batch of indices(batches)) {
    const startA = offset(batch, a.dims.slice(0, -2)) * m * k;
    const startB = offset(batch, b.dims.slice(0, -2)) * k * n;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let x = 0; x < k; x++) {
          const left = a.data[startA + (transA ? x * m + i : i * k + x)];
          sum += left * b.data[startB + (transB ? j * k + x : x * n + j)];
        }
        data[at++] = alpha * sum;
      }
    }
  }
  return { dims: [...batches, m, n], data };
}

const OPERATORS: Record<string, Operator> = {
  Identity: ([a]) => [a],
  Add: pairwise((x, y) => x + y),
  Sub: pairwise((x, y) => x - y),
  Mul: pairwise((x, y) => x * y),
  Neg: each((x) => -x),
  Exp: each(Math.exp),
  Sigmoid: each((x) => 1 / (1 + Math.exp(-x))),
  Softmax: rows((row) => {
    const top = Math.max(...row);
    const powers = row.map((x) => Math.exp(x - top));
    const total = powers.reduce((a, b) => a + b, 0);
    return powers.map((x) => x / total);
  }),
  LogSoftmax: rows((row) => {
    const top = Math.max(...row);
    const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) + top;
    return row.map((x) => x - total);
  }),
  SimplifiedLayerNormalization: ([x, w], node) => {
    const width = x.dims.at(-1)!;
    const scale = build([...x.dims.slice(0, -1), 1], () => 0);
    const data = new Float64Array(x.data.length);
    for (let row = 0; row < scale.data.length; row++) {
      const part = x.data.subarray(row * width, (row + 1) * width);
      const mean = part.reduce((sum, v) => sum + v * v, 0) / width;
      scale.data[row] = 1 / Math.sqrt(mean + real(node, "epsilon"));
      for (let i = 0; i < width; i++) data[row * width + i] = part[i] * scale.data[row] * w.data[i];
    }
    return [{ dims: x.dims, data }, scale];
  },
  Gemm: ([a, b, c], node) => {
    const product = multiply(a, b, int(node, "transA", 0) === 1, int(node, "transB", 0) === 1, real(node, "alpha"));
    if (!c) return [product];
    const beta = real(node, "beta");
    return [build(product.dims, (i) => product.data[offset(i, product.dims)] + beta * c.data[offset(i, c.dims)])];
  },
  MatMul: ([a, b]) => [multiply(a, b, false, false, 1)],
  FusedMatMul: ([a, b], node) => [
    multiply(a, b, int(node, "transA", 0) === 1, int(node, "transB", 0) === 1, real(node, "alpha")),
  ],
  RotaryEmbedding: ([x, positions, cos, sin]) => {
    const half = cos.dims[1];
    const [batch, length, width] = x.dims;
    return [
      build([batch, length, width], ([b, s, i]) => {
        const position = positions.data[b * length + s];
        const head = Math.floor(i / (2 * half)) * 2 * half;
        const inner = i - head;
        const pair = inner % half;
        const at = (j: number): number => x.data[(b * length + s) * width + head + j];
        const c = cos.data[position * half + pair];
        const n = sin.data[position * half + pair];
        return inner < half ? at(pair) * c - at(pair + half) * n : at(pair + half) * c + at(pair) * n;
      }),
    ];
  },
  Transpose: ([a], node) => {
    const perm = node.attributes.perm as number[];
    return [
      build(
        perm.map((axis) => a.dims[axis]),
        (index) => {
          const source: number[] = [];
          perm.forEach((axis, i) => {
            source[axis] = index[i];
          });
          return a.data[offset(source, a.dims)];
        },
      ),
    ];
  },
  Reshape: ([a, shape]) => {
    const dims = [...shape.data].map((dim, i) => (dim === 0 ? a.dims[i] : dim));
    const rest = a.data.length / dims.reduce((total, dim) => (dim === -1 ? total : total * dim), 1);
    return [{ dims: dims.map((dim) => (dim === -1 ? rest : dim)), data: a.data }];
  },
  Expand: ([a, shape]) => [build(broadcastDims(a.dims, [...shape.data]), (i) => a.data[offset(i, a.dims)])],
  ReduceSum: ([a, axes], node) => {
    const summed = [...axes.data].map((axis) => (axis < 0 ? axis + a.dims.length : axis));
    const kept = a.dims.map((dim, i) => (summed.includes(i) ? 1 : dim));
    const out = build(kept, () => 0);
    for (const index of indices(a.dims)) out.data[offset(index, kept)] += a.data[offset(index, a.dims)];
    if (int(node, "keepdims", 1) === 0) out.dims = a.dims.filter((_, i) => !summed.includes(i));
    return [out];
  },
  Gather: ([table, rowsOf]) => {
    const width = size(table.dims.slice(1));
    const data = new Float64Array(rowsOf.data.length * width);
    rowsOf.data.forEach((row, i) => {
      data.set(table.data.subarray(row * width, (row + 1) * width), i * width);
    });
    return [{ dims: [...rowsOf.dims, ...table.dims.slice(1)], data }];
  },
  GatherElements: ([a, index], node) => [
    build(index.dims, (i) => {
      const source = [...i];
      source[int(node, "axis", 0)] = index.data[offset(i, index.dims)];
      return a.data[offset(source, a.dims)];
    }),
  ],
  ScatterElements: ([zero, index, updates], node) => {
    const data = zero.data.slice();
    for (const i of indices(index.dims)) {
      const target = [...i];
      target[int(node, "axis", 0)] = index.data[offset(i, index.dims)];
      data[offset(target, zero.dims)] += updates.data[offset(i, updates.dims)];
    }
    return [{ dims: zero.dims, data }];
  },
  Concat: (parts, node) => {
    const axis = int(node, "axis", 0);
    const total = parts.reduce((sum, part) => sum + part.dims[axis], 0);
    const dims = parts[0].dims.map((dim, i) => (i === axis ? total : dim));
    return [
      build(dims, (index) => {
        const source = [...index];
        let part = 0;
        while (source[axis] >= parts[part].dims[axis]) source[axis] -= parts[part++].dims[axis];
        return parts[part].data[offset(source, parts[part].dims)];
      }),
    ];
  },
  Split: ([a, sizes], node) => {
    const axis = int(node, "axis", 0);
    let start = 0;
    return [...sizes.data].map((part) => {
      const first = start;
      start += part;
      return build(
        a.dims.map((dim, i) => (i === axis ? part : dim)),
        (index) =>
          a.data[
            offset(
              index.map((x, i) => (i === axis ? x + first : x)),
              a.dims,
            )
          ],
      );
    });
  },
};
