import { mkdirSync } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ELEMENT_TYPES, type ElementType } from "./element-type.ts";
import { type Attribute, GraphBuilder, type GraphNode, type Initializer, type TensorInfo } from "./graph-builder.ts";
import { ProtoWriter } from "./proto-writer.ts";

/** Field numbers and codes below are those of onnx.proto3 (ONNX 1.17, IR version 10). */
const IR_VERSION = 10;
const OPSET = 21;
const EXTERNAL_ALIGNMENT = 4096;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, graph: 5, floats: 6, ints: 7 } as const;

/** What {@link saveModels} writes besides graphs: all external weights, and a JSON list of `WeightsEntry`. */
export const WEIGHTS_FILE = "weights.bin";
export const WEIGHTS_INDEX = "weights.json";

/** Where an external initializer lies in the file of weights, bytes. Several may be the same bytes. */
export interface WeightsEntry {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

interface ExternalLocation {
  file: string;
  offset: number;
}

/** The bytes of a ModelProto with every weight inside. @throws if an initializer is external. */
export function serialiseModel(graph: GraphBuilder): Uint8Array {
  return writeModel(graph, (initializer) => {
    throw new Error(`Initializer ${initializer.name} is external: use saveModel.`);
  });
}

/**
 * Writes `model.onnx` and, when there are external weights, `weights.bin` into `folder`.
 * @returns path of `model.onnx`.
 */
export async function saveModel(graph: GraphBuilder, folder: string): Promise<string> {
  const paths = await saveModels({ model: graph }, folder);
  return paths.model;
}

/**
 * Writes several graphs over one `weights.bin`: initializers of the same name are the same weights. `weights.json` says
 * where each lies.
 *
 * Weights start at multiples of 4 KiB: ONNX Runtime then maps them instead of copying them.
 * @returns path of each graph's file, `<name>.onnx`.
 */
export async function saveModels<Name extends string>(
  graphs: Record<Name, GraphBuilder>,
  folder: string,
): Promise<Record<Name, string>> {
  mkdirSync(folder, { recursive: true });
  const external = new Map<string, Initializer>();
  for (const graph of Object.values<GraphBuilder>(graphs)) {
    for (const initializer of graph.initializers.values()) {
      if (initializer.external && !external.has(initializer.name)) external.set(initializer.name, initializer);
    }
  }
  const stored = [...external.values()].filter(({ sameAs }) => sameAs === undefined);
  const path = join(folder, WEIGHTS_FILE);
  const offsets = stored.length === 0 ? new Map<string, number>() : await writeWeights(stored, path);
  const index = Array.from(external.values(), ({ name, type, dims, byteLength, sameAs }): WeightsEntry => {
    return { name, type, dims, offset: offsets.get(sameAs ?? name)!, byteLength };
  });
  await writeFile(join(folder, WEIGHTS_INDEX), JSON.stringify(index));
  const paths = {} as Record<Name, string>;
  for (const name of Object.keys(graphs) as Name[]) {
    paths[name] = join(folder, `${name}.onnx`);
    const locate = (weights: Initializer) => ({
      file: WEIGHTS_FILE,
      offset: offsets.get(weights.sameAs ?? weights.name)!,
    });
    const model = writeModel(graphs[name], locate);
    await writeFile(paths[name], model);
  }
  return paths;
}

async function writeWeights(external: Iterable<Initializer>, path: string): Promise<Map<string, number>> {
  const offsets = new Map<string, number>();
  const file = await open(path, "w");
  try {
    let offset = 0;
    for (const { name, bytes, byteLength } of external) {
      const data = bytes();
      if (data.length !== byteLength) throw new Error(`Initializer ${name}: ${data.length} bytes, not ${byteLength}.`);
      for (let done = 0; done < data.length; ) {
        // One write call moves at most 2 GiB on Linux.
        const part = data.subarray(done, done + 2 ** 30);
        done += (await file.write(part, 0, part.length, offset + done)).bytesWritten;
      }
      offsets.set(name, offset);
      offset += Math.ceil(byteLength / EXTERNAL_ALIGNMENT) * EXTERNAL_ALIGNMENT;
    }
  } finally {
    await file.close();
  }
  return offsets;
}

type Locate = (initializer: Initializer) => ExternalLocation;

function writeModel(graph: GraphBuilder, locate: Locate): Uint8Array {
  const model = new ProtoWriter().varint(1, IR_VERSION).string(2, "openledger").message(7, writeGraph(graph, locate));
  const opset = (domain: string, version: number) => new ProtoWriter().string(1, domain).varint(2, version);
  return model.message(8, opset("", OPSET)).message(8, opset("com.microsoft", 1)).finish();
}

function writeGraph(graph: GraphBuilder, locate: Locate): ProtoWriter {
  const out = new ProtoWriter();
  for (const node of graph.nodes) out.message(1, writeNode(node, locate));
  out.string(2, graph.name);
  for (const initializer of graph.initializers.values()) out.message(5, writeInitializer(initializer, locate));
  for (const input of graph.inputs) out.message(11, writeTensorInfo(input));
  for (const output of graph.outputs) out.message(12, writeTensorInfo(output));
  return out;
}

function writeNode(node: GraphNode, locate: Locate): ProtoWriter {
  const out = new ProtoWriter();
  for (const input of node.inputs) out.string(1, input);
  for (const output of node.outputs) out.string(2, output);
  out.string(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) out.message(5, writeAttribute(name, value, locate));
  if (node.domain !== "") out.string(7, node.domain);
  return out;
}

function writeAttribute(name: string, value: Attribute, locate: Locate): ProtoWriter {
  const out = new ProtoWriter().string(1, name);
  if (typeof value === "number") {
    if (!Number.isInteger(value)) throw new Error(`Attribute ${name}: write ${value} as float(${value}).`);
    return out.varint(3, value).varint(20, ATTRIBUTE_TYPE.int);
  }
  if (typeof value === "string") return out.string(4, value).varint(20, ATTRIBUTE_TYPE.string);
  if (value instanceof GraphBuilder) return out.message(6, writeGraph(value, locate)).varint(20, ATTRIBUTE_TYPE.graph);
  if ("float" in value) return out.float(2, value.float).varint(20, ATTRIBUTE_TYPE.float);
  if ("floats" in value) return out.packedFloats(7, value.floats).varint(20, ATTRIBUTE_TYPE.floats);
  return out.packedVarints(8, value).varint(20, ATTRIBUTE_TYPE.ints);
}

function writeInitializer(initializer: Initializer, locate: Locate): ProtoWriter {
  const { name, type, dims, byteLength, external, bytes } = initializer;
  const out = new ProtoWriter().packedVarints(1, dims).varint(2, ELEMENT_TYPES[type]).string(8, name);
  if (!external) return out.bytes(9, bytes());
  const { file, offset } = locate(initializer);
  const entry = (key: string, value: string) => new ProtoWriter().string(1, key).string(2, value);
  return out
    .message(13, entry("location", file))
    .message(13, entry("offset", String(offset)))
    .message(13, entry("length", String(byteLength)))
    .varint(14, 1);
}

function writeTensorInfo({ name, type, dims }: TensorInfo): ProtoWriter {
  const shape = new ProtoWriter();
  for (const dim of dims) {
    shape.message(1, typeof dim === "number" ? new ProtoWriter().varint(1, dim) : new ProtoWriter().string(2, dim));
  }
  const tensor = new ProtoWriter().varint(1, ELEMENT_TYPES[type]).message(2, shape);
  return new ProtoWriter().string(1, name).message(2, new ProtoWriter().message(1, tensor));
}
