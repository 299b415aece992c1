/** `npm run bench:peers`; `-- --help` says the rest. */
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Quantisation } from "../../../operator/engine/graph/matrices.ts";
import { readAdapter } from "../../../operator/engine/model/adapter-folder.ts";
import { createModelRunner, type GraphModelRunner } from "../../../operator/engine/runtime/graph-model-runner.ts";
import type { RowAdapter } from "../../../operator/engine/runtime/model-runner.ts";
import { BenchRows } from "../engine/rows.ts";
import { adapterFolder, benchCache, modelFolder, SHAPES, type ShapeName } from "../shapes.ts";
import { round3, type Turns, takeTurns } from "../timing.ts";
import { ggufAdapter, ggufModel } from "./gguf-model.ts";
import { loadPeerModel, PEER_VERSION, type PeerContext, type PeerModel } from "./llama-cpp.ts";

/** Tokens in every sequence's cache while decoding is measured. */
const CACHED = 64;
const PREFILL = 128;
const ROWS = 32;
const ADAPTERS = 8;

/** Milliseconds of both sides, and their ratio. */
interface Comparison {
  readonly oursMs: number;
  readonly theirsMs: number;
  readonly ratio: number;
}

interface Rig {
  readonly runner: GraphModelRunner;
  readonly rows: BenchRows;
  readonly peer: PeerModel;
  readonly turns: Turns;
}

const HELP = `npm run bench:peers [-- options]

This engine against llama.cpp (node-llama-cpp) on the same weights, both in turn in one run, on all cores of the CPU. A
figure is their median time over ours: above 1 we are faster. Neither side samples; both give the logits of each row's
last token. With adapters llama.cpp applies one set to a whole context, so eight distinct ones are eight contexts with
one sequence each; that is the best it can do.

  --only PARTS   of f32,q4,lora; default all
  --shape SHAPE  one of ${Object.keys(SHAPES).join(", ")}; default 135m
  --quick        fewer turns
  --json         one JSON object on standard output; progress goes to the error stream
`;

const { values: options } = parseArgs({
  options: {
    help: { type: "boolean", short: "h", default: false },
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "f32,q4,lora" },
    shape: { type: "string", default: "135m" },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const only = options.only.split(",");
if (!(options.shape in SHAPES) || only.some((name) => !["f32", "q4", "lora"].includes(name))) {
  console.error(`--shape is one of ${Object.keys(SHAPES).join(", ")}; --only lists f32, q4, lora`);
  process.exit(2);
}
const shape = options.shape as ShapeName;
const turns = options.quick ? { rounds: 3, iterations: 3, warmUp: 2 } : { rounds: 9, iterations: 5, warmUp: 3 };
/** Progress goes to the error stream, so that `--json` leaves one object on the other. */
const say = (text: string) => console.error(text);

const base: Record<string, Record<string, Comparison>> = {};
let distinct: Comparison | undefined;
for (const quantisation of ["f32", "q4"] as const) {
  const wantsLora = quantisation === "q4" && only.includes("lora");
  if (!only.includes(quantisation) && !wantsLora) continue;
  const rig = await openRig(quantisation);
  if (only.includes(quantisation)) base[quantisation] = await compareBase(rig, quantisation);
  if (wantsLora) distinct = await compareDistinct(rig);
  await rig.runner.close();
  await rig.peer.close();
}

const ratios = Object.fromEntries(
  Object.entries(base).map(([quantisation, figures]) => [
    quantisation,
    Object.fromEntries(Object.entries(figures).map(([name, { ratio }]) => [name, ratio])),
  ]),
);
const result = {
  ratio: { llamacppBase: ratios, ...(distinct && { llamacpp8Distinct: distinct.ratio }) },
  ms: { base, ...(distinct && { distinct8: distinct }) },
  shape,
  peer: `node-llama-cpp ${PEER_VERSION}`,
  machine: { cpu: cpus()[0]?.model, cores: availableParallelism() },
};
if (options.json) console.log(JSON.stringify(result, null, 1));
else {
  console.log(
    `${result.peer} on ${result.machine.cores} cores (${result.machine.cpu}), ${shape}; ms ours / theirs = ratio`,
  );
  for (const [quantisation, figures] of Object.entries(base)) {
    for (const [name, figure] of Object.entries(figures)) console.log(line(`base ${quantisation} ${name}`, figure));
  }
  if (distinct) console.log(line("8 distinct adapters q4", distinct));
}
// The library leaves threads behind that would keep the process alive.
process.exit(0);

function line(name: string, { oursMs, theirsMs, ratio }: Comparison): string {
  return `${name.padEnd(28)} ${oursMs} / ${theirsMs} = ${ratio}`;
}

async function openRig(quantisation: Quantisation & ("f32" | "q4")): Promise<Rig> {
  say(`${shape} ${quantisation}: preparing`);
  const runner = await createModelRunner({
    model: modelFolder(shape),
    quantisation,
    exact: false,
    threads: availableParallelism(),
    blocks: ROWS * Math.ceil((CACHED + PREFILL) / 64),
    blockSize: 64,
    slots: ADAPTERS,
    maxRank: 16,
    cache: join(benchCache(), "graphs"),
  });
  const rows = new BenchRows(runner, ROWS, CACHED + PREFILL);
  await rows.fill(ROWS, CACHED);
  const peer = await loadPeerModel(ggufModel(shape, quantisation === "f32" ? "f32" : "q4_0"));
  return { runner, rows, peer, turns };
}

async function compareBase(rig: Rig, quantisation: string): Promise<Record<string, Comparison>> {
  const context = await rig.peer.context({ sequences: ROWS, length: CACHED + PREFILL, batch: 512 });
  const figures: Record<string, Comparison> = {};
  for (let row = 0; row < ROWS; row++) await context.step([{ sequence: row, past: 0, tokens: someTokens(CACHED) }]);
  for (const batch of [1, 8, 32]) {
    say(`${shape} ${quantisation}: decode, batch ${batch}`);
    figures[`b${batch}`] = await compare(
      rig,
      () => rig.rows.decode(CACHED, noAdapters(batch)),
      () => decodePeer(context, batch),
    );
  }
  say(`${shape} ${quantisation}: prefill of ${PREFILL}`);
  figures[`prefill${PREFILL}`] = await compare(
    rig,
    () => rig.rows.prefill(0, 0, PREFILL, []),
    async () => {
      context.truncate(0, 0);
      await context.step([{ sequence: 0, past: 0, tokens: someTokens(PREFILL) }]);
    },
  );
  await context.close();
  return figures;
}

async function compareDistinct(rig: Rig): Promise<Comparison> {
  say(`${shape} q4: decode, batch ${ADAPTERS}, all adapters distinct`);
  const contexts: PeerContext[] = [];
  const uses: RowAdapter[][] = [];
  for (let slot = 0; slot < ADAPTERS; slot++) {
    rig.runner.loadSlot(slot, readAdapter(adapterFolder(shape, slot), rig.runner.config));
    uses.push([{ slot, weight: 1 }]);
    const adapters = [ggufAdapter(shape, slot)];
    const context = await rig.peer.context({ sequences: 1, length: CACHED + PREFILL, batch: 512, adapters });
    await context.step([{ sequence: 0, past: 0, tokens: someTokens(CACHED) }]);
    contexts.push(context);
  }
  const figure = await compare(
    rig,
    () => rig.rows.decode(CACHED, uses),
    async () => {
      for (const context of contexts) await decodePeer(context, 1);
    },
  );
  for (const context of contexts) await context.close();
  return figure;
}

/** One token for each of the first sequences, taken back afterwards so that every step has the same length. */
async function decodePeer(context: PeerContext, batch: number): Promise<void> {
  const rows = Array.from({ length: batch }, (_, sequence) => ({ sequence, past: CACHED, tokens: someTokens(1) }));
  await context.step(rows);
  for (const { sequence } of rows) context.truncate(sequence, CACHED);
}

async function compare(rig: Rig, ours: () => unknown, theirs: () => unknown): Promise<Comparison> {
  const timings = await takeTurns({ ours, theirs }, rig.turns);
  const [oursMs, theirsMs] = [round3(timings.ours.median), round3(timings.theirs.median)];
  return { oursMs, theirsMs, ratio: round3(timings.theirs.median / timings.ours.median) };
}

function noAdapters(batch: number): RowAdapter[][] {
  return Array.from({ length: batch }, () => []);
}

function someTokens(count: number): Uint32Array {
  const { vocab } = SHAPES[shape];
  return Uint32Array.from({ length: count }, (_, i) => 3 + ((i * 7919) % (vocab - 3)));
}
