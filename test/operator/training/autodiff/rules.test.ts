import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { float, GraphBuilder, type TensorName } from "../../../../operator/engine/onnx/graph-builder.ts";
import { serialiseModel } from "../../../../operator/engine/onnx/serialise.ts";
import { differentiate } from "../../../../operator/training/autodiff/backward.ts";
import { RULES } from "../../../../operator/training/autodiff/rules.ts";
import { Shapes } from "../../../../operator/training/autodiff/shapes.ts";
import { seeded } from "../../../../operator/training/random.ts";
import { interpret, type Tensor64 } from "./interpreter.ts";

interface Case {
  /** Float inputs by name, all of which are differentiated. */
  inputs: Record<string, number[]>;
  /** Integer inputs by name. */
  indices?: Record<string, { dims: number[]; values: number[] }>;
  build: (g: GraphBuilder) => TensorName;
}

/** One or more graphs per operator; broadcasting, repeated use, transposes and unused outputs on purpose. */
const CASES: Record<string, Case> = {
  "Add, broadcast both ways": { inputs: { a: [2, 1, 4], b: [3, 1] }, build: (g) => g.op("Add", ["a", "b"]) },
  "Add of a tensor to itself": { inputs: { a: [2, 3] }, build: (g) => g.op("Add", ["a", "a"]) },
  "Sub, broadcast": { inputs: { a: [3], b: [2, 3] }, build: (g) => g.op("Sub", ["a", "b"]) },
  "Mul, broadcast": { inputs: { a: [2, 3, 4], b: [3, 1] }, build: (g) => g.op("Mul", ["a", "b"]) },
  Neg: { inputs: { a: [5] }, build: (g) => g.op("Neg", ["a"]) },
  Identity: { inputs: { a: [5] }, build: (g) => g.op("Identity", ["a"]) },
  Sigmoid: { inputs: { a: [2, 5] }, build: (g) => g.op("Sigmoid", ["a"]) },
  "a product with its own Sigmoid": { inputs: { a: [7] }, build: (g) => g.op("Mul", ["a", g.op("Sigmoid", ["a"])]) },
  Softmax: { inputs: { a: [2, 3, 5] }, build: (g) => g.op("Softmax", ["a"], { axis: -1 }) },
  LogSoftmax: { inputs: { a: [4, 6] }, build: (g) => g.op("LogSoftmax", ["a"], { axis: -1 }) },
  SimplifiedLayerNormalization: {
    inputs: { a: [2, 3, 8], w: [8] },
    build: (g) =>
      g.node(
        "SimplifiedLayerNormalization",
        ["a", "w"],
        { axis: -1, epsilon: float(1e-5), stash_type: 1 },
        { outputs: 2 },
      )[0],
  },
  ...Object.fromEntries(
    [0, 1, 2, 3].map((bits) => {
      const transA = bits & 1;
      const transB = bits >> 1;
      const a = transA ? [4, 3] : [3, 4];
      const b = transB ? [5, 4] : [4, 5];
      return [
        `Gemm, transA ${transA}, transB ${transB}`,
        {
          inputs: { a, b, c: [3, 5] },
          build: (g: GraphBuilder) => g.op("Gemm", ["a", "b", "c"], { transA, transB, alpha: float(0.7) }),
        },
      ];
    }),
  ),
  "Gemm with a row as bias, scaled": {
    inputs: { a: [3, 4], b: [4, 5], c: [5] },
    build: (g) => g.op("Gemm", ["a", "b", "c"], { beta: float(0.5) }),
  },
  "Gemm twice on one input, which adds up": {
    inputs: { a: [3, 4], b: [4, 4] },
    build: (g) => g.op("Gemm", [g.op("Gemm", ["a", "b"]), "b", "a"]),
  },
  "MatMul, batched and broadcast": { inputs: { a: [2, 3, 4], b: [4, 5] }, build: (g) => g.op("MatMul", ["a", "b"]) },
  ...Object.fromEntries(
    [0, 1, 2, 3].map((bits) => {
      const transA = bits & 1;
      const transB = bits >> 1;
      return [
        `FusedMatMul, transA ${transA}, transB ${transB}`,
        {
          inputs: { a: transA ? [2, 2, 4, 3] : [2, 2, 3, 4], b: transB ? [2, 2, 5, 4] : [2, 2, 4, 5] },
          build: (g: GraphBuilder) => g.op("FusedMatMul", ["a", "b"], { transA, transB, alpha: float(1.3) }),
        },
      ];
    }),
  ),
  RotaryEmbedding: {
    inputs: { a: [2, 3, 8] },
    indices: { positions: { dims: [2, 3], values: [0, 1, 2, 2, 0, 3] } },
    build: (g) => {
      const angles = [0, 1, 2, 3].flatMap((position) => [position * 0.9, position * 0.2]);
      const cos = g.initializer("cos", "float32", [4, 2], Float32Array.from(angles, Math.cos));
      const sin = g.initializer("sin", "float32", [4, 2], Float32Array.from(angles, Math.sin));
      return g.op("RotaryEmbedding", ["a", "positions", cos, sin], { interleaved: 0 });
    },
  },
  Transpose: { inputs: { a: [2, 3, 4] }, build: (g) => g.op("Transpose", ["a"], { perm: [2, 0, 1] }) },
  Reshape: { inputs: { a: [2, 6] }, build: (g) => g.op("Reshape", ["a", g.ints([3, -1])]) },
  Expand: { inputs: { a: [3, 1] }, build: (g) => g.op("Expand", ["a", g.ints([2, 3, 4])]) },
  "ReduceSum, axes kept": {
    inputs: { a: [2, 3, 4] },
    build: (g) => g.op("ReduceSum", ["a", g.ints([-1, 0])], { keepdims: 1 }),
  },
  "ReduceSum, axes dropped": {
    inputs: { a: [2, 3, 4] },
    build: (g) => g.op("ReduceSum", ["a", g.ints([1])], { keepdims: 0 }),
  },
  "Gather of repeated rows": {
    inputs: { a: [5, 3] },
    indices: { rows: { dims: [2, 3], values: [4, 1, 1, 0, 1, 4] } },
    build: (g) => g.op("Gather", ["a", "rows"], { axis: 0 }),
  },
  GatherElements: {
    inputs: { a: [3, 5] },
    indices: { rows: { dims: [3, 2], values: [4, 4, 0, 1, 2, 3] } },
    build: (g) => g.op("GatherElements", ["a", "rows"], { axis: 1 }),
  },
  "Split with a part that nothing uses": {
    inputs: { a: [2, 6] },
    build: (g) => {
      const [x, , z] = g.node("Split", ["a", g.ints([2, 1, 3])], { axis: 1 }, { outputs: 3 });
      return g.op("Concat", [z, x], { axis: 1 });
    },
  },
  Concat: { inputs: { a: [2, 3], b: [2, 1] }, build: (g) => g.op("Concat", ["a", "b", "a"], { axis: 1 }) },
};

/** The case's graph with a loss that weights every output element differently, and the gradients of its inputs. */
function buildCase(test: Case): { graph: GraphBuilder; loss: TensorName; gradients: Map<TensorName, TensorName> } {
  const graph = new GraphBuilder("case");
  for (const [name, dims] of Object.entries(test.inputs)) graph.input(name, "float32", dims);
  for (const [name, { dims }] of Object.entries(test.indices ?? {})) graph.input(name, "int64", dims);
  const result = test.build(graph);
  const dims = [...new Shapes(graph).of(result)];
  const random = seeded(3, "weights");
  const weights = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal());
  const weighted = graph.op("Mul", [result, graph.initializer("weights", "float32", dims, weights)]);
  const loss = graph.op("ReduceSum", [weighted, graph.ints(dims.map((_, i) => i))], { keepdims: 0 });
  const gradients = differentiate(graph, loss, Object.keys(test.inputs));
  return { graph, loss, gradients };
}

function drawInputs(test: Case, seed: number): Record<string, Tensor64> {
  const random = seeded(seed, "inputs");
  const floats = Object.entries(test.inputs).map(([name, dims]): [string, Tensor64] => {
    const data = Float64Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => Math.fround(random.normal()));
    return [name, { dims, data }];
  });
  const indices = Object.entries(test.indices ?? {}).map(([name, { dims, values }]): [string, Tensor64] => {
    return [name, { dims, data: Float64Array.from(values) }];
  });
  return Object.fromEntries([...floats, ...indices]);
}

describe("vector-Jacobian rules", () => {
  for (const [name, test] of Object.entries(CASES)) {
    it(`agree with central differences in float64: ${name}`, () => {
      const { graph, loss, gradients } = buildCase(test);
      const inputs = drawInputs(test, 7);
      const values = interpret(graph, inputs);
      for (const [input, gradient] of gradients) {
        const analytic = values.get(gradient)!;
        assert.deepEqual(analytic.dims, test.inputs[input], `shape of the gradient of ${input}`);
        const data = inputs[input].data;
        for (let i = 0; i < data.length; i++) {
          const at = (value: number): number => {
            const moved = { dims: inputs[input].dims, data: data.with(i, value) };
            return interpret(graph, { ...inputs, [input]: moved }).get(loss)!.data[0];
          };
          const step = 1e-5;
          const numeric = (at(data[i] + step) - at(data[i] - step)) / (2 * step);
          assert.ok(
            Math.abs(numeric - analytic.data[i]) <= 1e-8 * Math.max(1, Math.abs(numeric)),
            `${input}[${i}]: ${analytic.data[i]} against ${numeric}`,
          );
        }
      }
    });

    it(`run on onnxruntime with the same result: ${name}`, async () => {
      const { graph, gradients } = buildCase(test);
      const inputs = drawInputs(test, 8);
      for (const [input, gradient] of gradients) graph.output(gradient, "float32", test.inputs[input], `d_${input}`);
      const expected = interpret(graph, inputs);
      const session = await InferenceSession.create(serialiseModel(graph), { intraOpNumThreads: 1 });
      const feeds = Object.entries(inputs).map(([key, { dims, data }]): [string, Tensor] => [
        key,
        test.indices?.[key]
          ? new Tensor("int64", BigInt64Array.from(data, BigInt), dims)
          : new Tensor("float32", Float32Array.from(data), dims),
      ]);
      const results = await session.run(Object.fromEntries(feeds));
      for (const input of gradients.keys()) {
        const actual = results[`d_${input}`].data as Float32Array;
        expected.get(`d_${input}`)!.data.forEach((value, i) => {
          assert.ok(Math.abs(value - actual[i]) <= 2e-6 * Math.max(1, Math.abs(value)), `${input}[${i}]`);
        });
      }
      await session.release();
    });
  }

  it("exist for nothing that is not checked here", () => {
    const checked = new Set(Object.keys(CASES).map((name) => name.split(/[ ,]/)[0]));
    assert.deepEqual(
      Object.keys(RULES).filter((op) => !checked.has(op)),
      [],
    );
  });
});

describe("differentiate", () => {
  it("computes no gradient of a frozen weight", () => {
    const graph = new GraphBuilder("frozen");
    for (const name of ["x", "frozen", "trained"]) graph.input(name, "float32", [2, 2]);
    const hidden = graph.op("Gemm", [graph.op("Gemm", ["x", "trained"]), "frozen"]);
    const loss = graph.op("ReduceSum", [hidden, graph.ints([0, 1])], { keepdims: 0 });
    const before = graph.nodes.length;
    differentiate(graph, loss, ["trained"]);
    // Two products lead back: through the frozen weight to the hidden state, and to the trained weight.
    assert.equal(graph.nodes.slice(before).filter(({ op }) => op === "Gemm").length, 2);
  });

  it("names the operator that has no rule", () => {
    const graph = new GraphBuilder("unknown");
    graph.input("x", "float32", [2]);
    const loss = graph.op("ReduceSum", [graph.op("Exp", ["x"]), graph.ints([0])], { keepdims: 0 });
    assert.throws(() => differentiate(graph, loss, ["x"]), /Exp has no vector-Jacobian rule/);
  });

  it("refuses a tensor that the loss does not depend on", () => {
    const graph = new GraphBuilder("apart");
    for (const name of ["x", "y"]) graph.input(name, "float32", [2]);
    const loss = graph.op("ReduceSum", ["x", graph.ints([0])], { keepdims: 0 });
    assert.throws(() => differentiate(graph, loss, ["x", "y"]), /y does not influence/);
  });
});
