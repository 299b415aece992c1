/** `npm run bench:engine`; `-- --help` says the rest. */
import { availableParallelism, cpus } from "node:os";
import { inspect, parseArgs } from "node:util";
import { SHAPES, type ShapeName } from "../shapes.ts";
import { round3 } from "../timing.ts";
import { benchAdapterLoad } from "./adapter-load.ts";
import { type ArrivalFigures, benchArrivals } from "./arrivals.ts";
import { MEMORY_BOUND, openBenchEngine } from "./bench-engine.ts";
import { benchDecode, type DecodeFigures } from "./decode.ts";
import { benchAttention, benchPrefill } from "./prefill.ts";
import { benchRoofline } from "./roofline.ts";
import { benchScoring } from "./scoring.ts";
import { benchSparse } from "./sparse.ts";

const SECTIONS = ["decode", "prefill", "attention", "sparse", "roofline", "load", "arrivals", "scoring"] as const;
/** The shape of the ratios that have bars; the roofline's is the largest one. */
const MAIN: ShapeName = "135m";

const HELP = `npm run bench:engine [-- options]

Measures the embedded engine on random weights of real shapes, on all cores. What is compared takes turns within the
run, so the ratios hold on a machine that is not quiet; the milliseconds do not.

  --only SECTIONS   of ${SECTIONS.join(",")}; default all
  --shapes SHAPES   of ${Object.keys(SHAPES).join(",")}; default 15m,135m,500m. Sections that take one shape take ${MAIN},
                    or the last one where it is not among them; the roofline takes the last one
  --adapters N,...  adapters on disk for the arrivals; default 8,1000,10000
  --contexts N,...  cached tokens after which attention is sparse, multiples of 256; default 2048,8192,16384, as far as
                    the shape has positions (135m-16k has 16384)
  --decode-only     no chunks of prompts there: a dense one after 16384 tokens takes long
  --quick           fewer turns
  --json            one JSON object on standard output; progress goes to the error stream
`;

const { values: options } = parseArgs({
  options: {
    help: { type: "boolean", short: "h", default: false },
    json: { type: "boolean", default: false },
    "decode-only": { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    only: { type: "string", default: SECTIONS.join(",") },
    shapes: { type: "string", default: "15m,135m,500m" },
    adapters: { type: "string", default: "8,1000,10000" },
    contexts: { type: "string", default: "2048,8192,16384" },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const only = new Set(options.only.split(","));
const shapes = options.shapes.split(",") as ShapeName[];
const populations = options.adapters.split(",").map(Number);
const contexts = options.contexts.split(",").map(Number);
const unknown = [
  ...[...only].filter((name) => !(SECTIONS as readonly string[]).includes(name)),
  ...shapes.filter((name) => !(name in SHAPES)),
  ...populations.filter((count) => !Number.isInteger(count) || count < 1),
  ...contexts.filter((tokens) => !(tokens >= 256 && tokens % 256 === 0)),
];
if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(", ")}. Sections: ${SECTIONS.join(", ")}; shapes: ${Object.keys(SHAPES)}`);
  process.exit(2);
}
const main = shapes.includes(MAIN) ? MAIN : shapes[shapes.length - 1];
const largest = shapes[shapes.length - 1];
const turns = options.quick ? { rounds: 3, iterations: 2, warmUp: 1 } : { rounds: 9, iterations: 5, warmUp: 3 };
const longTurns = options.quick ? { rounds: 2, iterations: 1, warmUp: 1 } : { rounds: 5, iterations: 2, warmUp: 1 };
/** Progress goes to the error stream, so that `--json` leaves one object on the other. */
const say = (text: string) => console.error(text);
const section = async <Figures>(name: string, shape: string, run: () => Promise<Figures>): Promise<Figures | null> => {
  if (!only.has(name)) return null;
  say(`${shape}: ${name}`);
  return run();
};

const decode: Record<string, Record<string, Record<string, DecodeFigures>>> = {};
const prefill: Record<string, Record<string, Record<string, number>>> = {};
for (const shape of shapes) {
  for (const quantisation of ["q4", "f32"] as const) {
    if (only.has("decode")) {
      say(`${shape} ${quantisation}: decode`);
      (decode[shape] ??= {})[quantisation] = await benchDecode(shape, quantisation, [1, 8, 32], turns);
    }
    if (only.has("prefill")) {
      say(`${shape} ${quantisation}: prefill`);
      (prefill[shape] ??= {})[quantisation] = await benchPrefill(shape, quantisation, [128, 512], longTurns);
    }
  }
}
const attention = await section("attention", main, () => benchAttention(main, "q4", longTurns));
const sparse = await section("sparse", main, () =>
  benchSparse(main, "q4", contexts, longTurns, !options["decode-only"]),
);
const roofline = await section("roofline", largest, () => benchRoofline(largest, turns));
const load = await section("load", main, () => benchAdapterLoad(main, options.quick ? 40 : 300));

let arrivals: Record<string, ArrivalFigures> | null = null;
let scoring: Awaited<ReturnType<typeof benchScoring>> | null = null;
let settings: Readonly<Record<string, string | number | boolean>> | null = null;
let rssMb: number | null = null;
if (only.has("arrivals") || only.has("scoring")) {
  const engine = await openBenchEngine(main);
  settings = (await engine.info()).settings;
  scoring = await section("scoring", main, () => benchScoring(engine, main, options.quick ? 2 : 7));
  const size = options.quick ? { requests: 32, rounds: 1 } : { requests: 96, rounds: 4 };
  const arrivalOptions = { shape: main, populations, clients: 16, ...size };
  arrivals = await section("arrivals", main, () => benchArrivals(engine, arrivalOptions, say));
  rssMb = Math.round(process.memoryUsage.rss() / 1e6);
  await engine.close();
}

const q4 = decode[main]?.q4?.b8;
const [fewest, ...more] = populations;
const against = (count: number) => {
  const [figure, reference] = [arrivals?.[`a${count}`], arrivals?.[`a${fewest}`]];
  return figure && reference ? round3(figure.tokensPerSecond / reference.tokensPerSecond) : undefined;
};
const result = {
  ratio: {
    ...(q4 && { lora8Distinct: round3(q4.base / q4.allDistinct), loraUnused: round3(q4.base / q4.loraUnused) }),
    ...(arrivals && Object.fromEntries(more.map((count) => [`adapters${count}`, against(count)]))),
    ...(roofline && { roofline: { f32b1: roofline.share } }),
  },
  ...(load && { adapterLoadMs: { p50: load.p50, p99: load.p99 } }),
  ...(rssMb !== null && { rssMb, memoryBoundMb: Math.round(MEMORY_BOUND / 1e6) }),
  decodeMs: decode,
  prefillMs: prefill,
  attention,
  sparse,
  roofline,
  adapterLoad: load,
  arrivals,
  scoring,
  settings,
  shapes: { main, roofline: largest },
  machine: { cpu: cpus()[0]?.model, cores: availableParallelism() },
};
if (options.json) console.log(JSON.stringify(result, null, 1));
else report();
// Runtimes leave threads behind that would keep the process alive for a while.
process.exit(0);

function report(): void {
  console.log(`${result.machine.cores} cores, ${result.machine.cpu}; milliseconds`);
  for (const [shape, byQuantisation] of Object.entries(decode)) {
    for (const [quantisation, byBatch] of Object.entries(byQuantisation)) {
      for (const [batch, figures] of Object.entries(byBatch)) {
        console.log(`decode ${shape} ${quantisation} ${batch}`.padEnd(26), figures);
      }
    }
  }
  for (const [shape, figures] of Object.entries(prefill)) console.log(`prefill ${shape}`.padEnd(26), figures);
  for (const name of ["attention", "sparse", "roofline", "adapterLoad", "scoring", "arrivals"] as const) {
    if (result[name]) console.log(name.padEnd(26), inspect(result[name], { depth: null, compact: 4 }));
  }
  console.log("ratio".padEnd(26), result.ratio);
  if (rssMb !== null)
    console.log("resident memory, MB".padEnd(26), rssMb, "of", Math.round(MEMORY_BOUND / 1e6), "allowed");
}
