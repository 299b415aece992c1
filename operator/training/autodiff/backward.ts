import type { GraphBuilder, GraphNode, TensorName } from "../../engine/onnx/graph-builder.ts";
import { RULES } from "./rules.ts";
import { Shapes } from "./shapes.ts";

/** What a rule may use while it writes the backward nodes of one forward node. */
export interface BackwardContext {
  readonly graph: GraphBuilder;
  readonly shapes: Shapes;
  /** Whether the gradient of this tensor is wanted at all. */
  needs(tensor: TensorName): boolean;
}

/**
 * Adds a gradient to the sum of those from other uses of the same tensor, and returns the new sum. An operator that can
 * add on its way (Gemm's third input) saves a pass over memory.
 */
export type Contribution = (sum: TensorName | undefined) => TensorName;

/**
 * Vector-Jacobian rule of one operator: from the gradients of its outputs (undefined where nothing depends on one) to
 * contributions to its inputs (undefined for inputs without gradient, or not needed).
 */
export type Rule = (
  context: BackwardContext,
  node: GraphNode,
  gradients: readonly (TensorName | undefined)[],
) => (Contribution | undefined)[];

/**
 * Differentiates a graph in reverse mode: appends to it the ordinary ONNX nodes that compute the gradient of the scalar
 * `loss` with respect to each tensor in `wanted` (Griewank and Walther, Evaluating Derivatives, 2008, chapter 3).
 *
 * Only what leads from `wanted` to `loss` is differentiated: with a frozen base no gradient of its weights appears.
 *
 * @param wanted graph inputs or initializers with static shapes.
 * @returns name of the gradient of each wanted tensor, of the tensor's shape.
 * @throws if an operator on the way has no rule, or a wanted tensor does not influence the loss.
 */
export function differentiate(
  graph: GraphBuilder,
  loss: TensorName,
  wanted: readonly TensorName[],
): Map<TensorName, TensorName> {
  const forward = [...graph.nodes];
  const active = new Set<TensorName>(wanted);
  for (const node of forward) {
    if (node.inputs.some((name) => active.has(name))) for (const name of node.outputs) if (name) active.add(name);
  }
  const context: BackwardContext = { graph, shapes: new Shapes(graph), needs: (tensor) => active.has(tensor) };
  const sums = new Map<TensorName, TensorName>([[loss, graph.scalar(1)]]);
  for (const node of forward.reverse()) {
    const gradients = node.outputs.map((name) => sums.get(name));
    if (gradients.every((gradient) => gradient === undefined)) continue;
    if (!node.inputs.some((name) => active.has(name))) continue;
    const rule = RULES[node.op];
    if (rule === undefined) throw new Error(`${node.op} has no vector-Jacobian rule.`);
    rule(context, node, gradients).forEach((contribution, i) => {
      const input = node.inputs[i];
      if (contribution !== undefined && active.has(input)) sums.set(input, contribution(sums.get(input)));
    });
  }
  return new Map(
    wanted.map((name) => {
      const gradient = sums.get(name);
      if (gradient === undefined) throw new Error(`${name} does not influence ${loss}.`);
      return [name, gradient];
    }),
  );
}
