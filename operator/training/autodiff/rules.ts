import { float, type GraphBuilder, type TensorName } from "../../engine/onnx/graph-builder.ts";
import type { BackwardContext, Contribution, Rule } from "./backward.ts";
import { constantInts, floatAttribute, intAttribute, intsAttribute, type Shape, sizeOf } from "./shapes.ts";

/** Adds an already computed gradient to the sum. */
const plain =
  (graph: GraphBuilder, gradient: TensorName): Contribution =>
  (sum) =>
    sum === undefined ? gradient : graph.op("Add", [sum, gradient]);

/** Computes a contribution only if it is needed. */
function when(context: BackwardContext, tensor: TensorName, make: () => TensorName): Contribution | undefined {
  return context.needs(tensor) ? plain(context.graph, make()) : undefined;
}

/** Sums a gradient over the axes along which the operand was broadcast. */
function unbroadcast({ graph, shapes }: BackwardContext, gradient: TensorName, target: TensorName): TensorName {
  const from = shapes.of(gradient);
  const to = shapes.of(target);
  if (from.length === to.length && from.every((dim, i) => dim === to[i])) return gradient;
  const extra = from.length - to.length;
  const axes = from.flatMap((dim, i) => (i < extra || (to[i - extra] === 1 && dim !== 1) ? [i] : []));
  const summed = axes.length === 0 ? gradient : graph.op("ReduceSum", [gradient, graph.ints(axes)], { keepdims: 1 });
  return reshape(graph, summed, to);
}

const reshape = (graph: GraphBuilder, tensor: TensorName, shape: Shape): TensorName =>
  graph.op("Reshape", [tensor, graph.ints(shape)]);

/** A tensor of zeros; scattering adds into it. */
const zeros = (graph: GraphBuilder, shape: Shape): TensorName =>
  graph.op("Expand", [graph.scalar(0), graph.ints(shape)]);

const last = (graph: GraphBuilder, tensor: TensorName): TensorName =>
  graph.op("ReduceSum", [tensor, graph.ints([-1])], { keepdims: 1 });

const identity: Rule = ({ graph }, _node, [dy]) => [plain(graph, dy!)];

const add: Rule = (context, { inputs: [a, b] }, [dy]) => [
  when(context, a, () => unbroadcast(context, dy!, a)),
  when(context, b, () => unbroadcast(context, dy!, b)),
];

const sub: Rule = (context, { inputs: [a, b] }, [dy]) => [
  when(context, a, () => unbroadcast(context, dy!, a)),
  when(context, b, () => unbroadcast(context, context.graph.op("Neg", [dy!]), b)),
];

const mul: Rule = (context, { inputs: [a, b] }, [dy]) => [
  when(context, a, () => unbroadcast(context, context.graph.op("Mul", [dy!, b]), a)),
  when(context, b, () => unbroadcast(context, context.graph.op("Mul", [dy!, a]), b)),
];

const neg: Rule = ({ graph }, _node, [dy]) => [plain(graph, graph.op("Neg", [dy!]))];

/** d sigmoid(x) = y (1 - y). */
const sigmoid: Rule = ({ graph }, { outputs: [y] }, [dy]) => {
  const slope = graph.op("Sub", [y, graph.op("Mul", [y, y])]);
  return [plain(graph, graph.op("Mul", [dy!, slope]))];
};

/** dX = y (dY - sum(dY y)) along the last axis. */
const softmax: Rule = ({ graph }, { outputs: [y] }, [dy]) => {
  const weighted = graph.op("Mul", [dy!, y]);
  return [plain(graph, graph.op("Sub", [weighted, graph.op("Mul", [y, last(graph, weighted)])]))];
};

/** dX = dY - exp(y) sum(dY) along the last axis. */
const logSoftmax: Rule = ({ graph }, { outputs: [y] }, [dy]) => {
  const spread = graph.op("Mul", [graph.op("Exp", [y]), last(graph, dy!)]);
  return [plain(graph, graph.op("Sub", [dy!, spread]))];
};

/**
 * y = x r w with r = 1 / sqrt(mean(x^2) + epsilon), the operator's second output.
 * With g = dY w: dX = r (g - x r^2 mean(g x)), dW = sum over rows of dY x r.
 */
const rmsNorm: Rule = (context, { inputs: [x, w], outputs: [, r] }, [dy]) => {
  const { graph, shapes } = context;
  const shape = shapes.of(x);
  const width = shape[shape.length - 1];
  if (r === undefined || r === "") throw new Error("SimplifiedLayerNormalization must declare its second output.");
  const toInput = when(context, x, () => {
    const g = graph.op("Mul", [dy!, w]);
    const mean = graph.op("Mul", [last(graph, graph.op("Mul", [g, x])), graph.scalar(1 / width)]);
    const pull = graph.op("Mul", [mean, graph.op("Mul", [r, r])]);
    return graph.op("Mul", [r, graph.op("Sub", [g, graph.op("Mul", [x, pull])])]);
  });
  const toWeight = when(context, w, () => {
    const product = graph.op("Mul", [graph.op("Mul", [dy!, x]), r]);
    return unbroadcast(context, product, w);
  });
  return [toInput, toWeight];
};

/** A product of two matrices, each perhaps transposed, times alpha, added to the sum on its way. */
function gemm(
  graph: GraphBuilder,
  a: TensorName,
  transA: boolean,
  b: TensorName,
  transB: boolean,
  alpha: number,
): Contribution {
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: float(alpha) };
  return (sum) => graph.op("Gemm", sum === undefined ? [a, b] : [a, b, sum], attributes);
}

/** Y = alpha A' B' + beta C, where A' and B' may be transposed; four cases of the same two products. */
const gemmRule: Rule = (context, node, [dy]) => {
  const { graph, needs, shapes } = context;
  const [a, b, c] = node.inputs;
  const transA = intAttribute(node, "transA", 0) === 1;
  const transB = intAttribute(node, "transB", 0) === 1;
  const alpha = floatAttribute(node, "alpha", 1);
  const beta = floatAttribute(node, "beta", 1);
  const toA = transA ? gemm(graph, b, transB, dy!, true, alpha) : gemm(graph, dy!, false, b, !transB, alpha);
  const toB = transB ? gemm(graph, dy!, true, a, transA, alpha) : gemm(graph, a, !transA, dy!, false, alpha);
  const toC = (): TensorName => {
    const scaled = beta === 1 ? dy! : graph.op("Mul", [dy!, graph.scalar(beta)]);
    return sizeOf(shapes.of(c)) === sizeOf(shapes.of(dy!)) ? scaled : unbroadcast(context, scaled, c);
  };
  return [needs(a) ? toA : undefined, needs(b) ? toB : undefined, c ? when(context, c, toC) : undefined];
};

/** Batched product alpha A' B'; gradients are summed over batch axes along which an operand was broadcast. */
const matmul: Rule = (context, node, [dy]) => {
  const { graph } = context;
  const [a, b] = node.inputs;
  const transA = intAttribute(node, "transA", 0) === 1;
  const transB = intAttribute(node, "transB", 0) === 1;
  const alpha = float(floatAttribute(node, "alpha", 1));
  const product = (x: TensorName, tx: boolean, y: TensorName, ty: boolean): TensorName =>
    graph.op("FusedMatMul", [x, y], { transA: Number(tx), transB: Number(ty), alpha });
  return [
    when(context, a, () =>
      unbroadcast(context, transA ? product(b, transB, dy!, true) : product(dy!, false, b, !transB), a),
    ),
    when(context, b, () =>
      unbroadcast(context, transB ? product(dy!, true, a, transA) : product(a, !transA, dy!, false), b),
    ),
  ];
};

/** A rotation is undone by the opposite angle: the same operator with the sines negated. */
const rotary: Rule = ({ graph }, node, [dy]) => {
  const [, positions, cos, sin] = node.inputs;
  const back = graph.op("RotaryEmbedding", [dy!, positions, cos, graph.op("Neg", [sin])], node.attributes);
  return [plain(graph, back)];
};

const transpose: Rule = ({ graph }, node, [dy]) => {
  const perm = intsAttribute(node, "perm");
  const inverse = perm.map((_, axis) => perm.indexOf(axis));
  return [plain(graph, graph.op("Transpose", [dy!], { perm: inverse }))];
};

const reshapeRule: Rule = ({ graph, shapes }, { inputs: [x] }, [dy]) => [
  plain(graph, reshape(graph, dy!, shapes.of(x))),
];

const expand: Rule = (context, { inputs: [x] }, [dy]) => [plain(context.graph, unbroadcast(context, dy!, x))];

/** The gradient is repeated along the summed axes. */
const reduceSum: Rule = ({ graph, shapes }, { inputs: [x, axes] }, [dy]) => {
  const shape = shapes.of(x);
  const summed = constantInts(graph, axes).map((axis) => (axis < 0 ? axis + shape.length : axis));
  const kept = reshape(
    graph,
    dy!,
    shape.map((dim, i) => (summed.includes(i) ? 1 : dim)),
  );
  return [plain(graph, graph.op("Expand", [kept, graph.ints(shape)]))];
};

/**
 * Rows taken from a matrix: their gradients are added back to the rows. ScatterElements adds one after the other, so
 * that a row taken twice gets the same sum in every run; ScatterND may add on several threads at once.
 */
const gather: Rule = (context, node, [dy]) => {
  const { graph, shapes } = context;
  const [table, rows] = node.inputs;
  const shape = shapes.of(table);
  if (intAttribute(node, "axis", 0) !== 0 || shape.length !== 2) {
    throw new Error("Gather has a vector-Jacobian rule for rows of a matrix only.");
  }
  const flat = [sizeOf(shapes.of(rows)), shape[1]];
  return [
    when(context, table, () => {
      const index = graph.op("Expand", [reshape(graph, rows, [flat[0], 1]), graph.ints(flat)]);
      const updates = reshape(graph, dy!, flat);
      return graph.op("ScatterElements", [zeros(graph, shape), index, updates], { axis: 0, reduction: "add" });
    }),
  ];
};

const gatherElements: Rule = (context, node, [dy]) => {
  const { graph, shapes } = context;
  const [data, indices] = node.inputs;
  const axis = intAttribute(node, "axis", 0);
  const attributes = { axis, reduction: "add" };
  return [
    when(context, data, () => graph.op("ScatterElements", [zeros(graph, shapes.of(data)), indices, dy!], attributes)),
  ];
};

/** Parts cut from one tensor: their gradients are joined again, with zeros for parts that nothing used. */
const split: Rule = ({ graph, shapes }, node, gradients) => {
  const parts = gradients.map((dy, i) => dy ?? zeros(graph, shapes.of(node.outputs[i])));
  return [plain(graph, graph.op("Concat", parts, { axis: intAttribute(node, "axis", 0) }))];
};

const concat: Rule = (context, node, [dy]) => {
  const { graph, shapes } = context;
  const axis = intAttribute(node, "axis", 0);
  const sizes = node.inputs.map((name) => shapes.of(name).at(axis)!);
  const parts = graph.node("Split", [dy!, graph.ints(sizes)], { axis }, { outputs: sizes.length });
  return node.inputs.map((name, i) => when(context, name, () => parts[i]));
};

/** Vector-Jacobian rules by operator. An operator that is missing here cannot stand between a weight and the loss. */
export const RULES: Readonly<Record<string, Rule>> = {
  Identity: identity,
  Add: add,
  Sub: sub,
  Mul: mul,
  Neg: neg,
  Sigmoid: sigmoid,
  Softmax: softmax,
  LogSoftmax: logSoftmax,
  SimplifiedLayerNormalization: rmsNorm,
  Gemm: gemmRule,
  MatMul: matmul,
  FusedMatMul: matmul,
  RotaryEmbedding: rotary,
  Transpose: transpose,
  Reshape: reshapeRule,
  Expand: expand,
  ReduceSum: reduceSum,
  Gather: gather,
  GatherElements: gatherElements,
  Split: split,
  Concat: concat,
};
