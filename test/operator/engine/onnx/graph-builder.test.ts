import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { float, floats, GraphBuilder } from "../../../../operator/engine/onnx/graph-builder.ts";
import { saveModel, serialiseModel } from "../../../../operator/engine/onnx/serialise.ts";

const vector = (...values: number[]) => new Tensor("float32", Float32Array.from(values), [values.length]);

async function run(model: Uint8Array | string, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await InferenceSession.create(model as string);
  try {
    return (await session.run(feeds)) as Record<string, Tensor>;
  } finally {
    await session.release();
  }
}

test("a graph with integer, float and string attributes runs in onnxruntime", async () => {
  const g = new GraphBuilder("mixed");
  const x = g.input("x", "float32", ["n"]);
  const w = g.initializer("w", "float32", [2, 2], Float32Array.of(1, 2, 3, 4));
  const row = g.op("Reshape", [x, g.ints([1, -1])]);
  const y = g.op("FusedMatMul", [row, w], { transB: 1, alpha: float(0.5) });
  g.output(g.op("LeakyRelu", [y], { alpha: float(0.25) }), "float32", [1, 2], "y");
  g.output(g.op("Pad", [row, g.ints([0, 1, 0, 0])], { mode: "constant" }), "float32", [1, "m"], "padded");
  const out = await run(serialiseModel(g), { x: vector(2, -4) });
  assert.deepEqual([...(out.y.data as Float32Array)], [-0.75, -1.25]);
  assert.deepEqual([...(out.padded.data as Float32Array)], [0, 2, -4]);
});

test("external weights are aligned to 4 KiB and read back by onnxruntime", async () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-onnx-"));
  try {
    const g = new GraphBuilder("external");
    const x = g.input("x", "float32", [2]);
    const bytes = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
    const a = g.externalInitializer("a", "float32", [2], () => bytes(10, 20));
    const b = g.externalInitializer("b", "float32", [2], () => bytes(0.5, 0.25));
    g.output(g.op("Mul", [g.op("Add", [x, a]), b]), "float32", [2], "y");
    const path = await saveModel(g, folder);
    assert.equal(statSync(join(folder, "weights.bin")).size, 4096 + 8);
    const out = await run(path, { x: vector(2, 4) });
    assert.deepEqual([...(out.y.data as Float32Array)], [6, 6]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a subgraph reads tensors of the graph around it", async () => {
  const g = new GraphBuilder("branch");
  const x = g.input("x", "float32", [1]);
  const on = g.input("on", "bool", []);
  const yes = new GraphBuilder("then", g);
  yes.output(yes.op("Neg", [x]), "float32", [1]);
  const no = new GraphBuilder("else", g);
  no.output(no.op("Add", [x, x]), "float32", [1]);
  g.output(g.op("If", [on], { then_branch: yes, else_branch: no }), "float32", [1], "y");
  const model = serialiseModel(g);
  const flag = (value: boolean) => new Tensor("bool", [value], []);
  assert.deepEqual([...((await run(model, { x: vector(3), on: flag(true) })).y.data as Float32Array)], [-3]);
  assert.deepEqual([...((await run(model, { x: vector(3), on: flag(false) })).y.data as Float32Array)], [6]);
});

test("the node list can be walked: operators, domains, tensors and attributes as they were given", () => {
  const g = new GraphBuilder("walk");
  const x = g.input("x", "float32", [4, 4]);
  const [first, second] = g.node("Split", [x], { axis: 1, num_outputs: 2 }, { outputs: 2 });
  const y = g.op("FusedMatMul", [first, second], { transB: 1 });
  assert.deepEqual(
    g.nodes.map(({ op, domain, inputs, outputs }) => ({ op, domain, inputs, outputs })),
    [
      { op: "Split", domain: "", inputs: ["x"], outputs: [first, second] },
      { op: "FusedMatMul", domain: "com.microsoft", inputs: [first, second], outputs: [y] },
    ],
  );
  assert.deepEqual(g.nodes[0].attributes, { axis: 1, num_outputs: 2 });
});

test("mistakes are refused while building, not by the runtime", () => {
  const g = new GraphBuilder("mistakes");
  const x = g.input("x", "float32", [2]);
  assert.throws(() => g.op("Add", [x, "missing"]), /missing is used before it is defined/);
  assert.throws(() => g.input("x", "float32", [2]), /x is defined twice/);
  assert.throws(() => g.output("missing", "float32", [2]), /missing is used before/);
  assert.throws(() => g.initializer("w", "float32", [3], Float32Array.of(1, 2)), /takes 12 bytes, got 8/);
  g.op("LeakyRelu", [x], { alpha: 0.5 });
  assert.throws(() => serialiseModel(g), /write 0.5 as float\(0.5\)/);
  const external = new GraphBuilder("external");
  external.externalInitializer("w", "uint4", [3], () => new Uint8Array(2));
  assert.throws(() => serialiseModel(external), /external: use saveModel/);
});

test("equal constants are stored once, and lists of floats reach the operator", async () => {
  const g = new GraphBuilder("constants");
  const x = g.input("x", "float32", [1]);
  assert.equal(g.ints([1, 2]), g.ints([1, 2]));
  assert.notEqual(g.int(1), g.ints([1]));
  const two = g.op("Constant", [], { value_floats: floats([2, 3]) });
  g.output(g.op("Mul", [g.op("Mul", [x, g.scalar(0.5)]), two]), "float32", [2], "y");
  const out = await run(serialiseModel(g), { x: vector(4) });
  assert.deepEqual([...(out.y.data as Float32Array)], [4, 6]);
  assert.ok(![...g.initializers.values()].some((initializer) => initializer.external));
});
