import { performance } from "node:perf_hooks";
import type { GenerateRequest } from "../../../operator/engine/engine.ts";
import type { EmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { uniform, xorshift32, zipf } from "../random.ts";
import { adapterFolder, SHAPES, type ShapeName } from "../shapes.ts";
import { percentile, round3 } from "../timing.ts";
import { RANK } from "./bench-runner.ts";

const PROMPT_TOKENS = 64;
const NEW_TOKENS = 32;
/**
 * Layers of these adapters that are not zero. Ten thousand full ones would be 195 GB: the others' zeros are holes in
 * the files. They are read, checked, hashed, copied and computed like any values; only a disk would notice.
 */
const DENSE_LAYERS = 1;

interface ArrivalOptions {
  readonly shape: ShapeName;
  /** Adapters on disk, one figure for each number. */
  readonly populations: readonly number[];
  /** Requests per population and round. */
  readonly requests: number;
  readonly rounds: number;
  /** Requests in flight at all times. */
  readonly clients: number;
}

export interface ArrivalFigures {
  readonly tokensPerSecond: number;
  /** Milliseconds from the arrival: waiting for a place in the batch, loading the adapter and reading the prompt. */
  readonly firstTokenMs: { readonly p50: number; readonly p99: number };
  readonly interTokenMs: { readonly p50: number; readonly p99: number };
  readonly distinctAdapters: number;
  /** Of the requests, those that found their adapter in a slot, and those for which files were read. */
  readonly slotHitRate: number;
  readonly readRate: number;
  /** Mean milliseconds from files to host memory, while steps go on. */
  readonly readMs: number;
  /** Steps that computed inputs and steps that computed a token for each sequence, and their mean milliseconds. */
  readonly prefillSteps: { readonly count: number; readonly ms: number };
  readonly decodeSteps: { readonly count: number; readonly ms: number };
  /** Mean sequences that got a token in one step. */
  readonly decodeRows: number;
}

interface Population {
  readonly count: number;
  /** Folder number of its first adapter: populations share no contents. */
  readonly offset: number;
  readonly draw: () => number;
  readonly used: Set<number>;
  readonly firstToken: number[];
  readonly betweenTokens: number[];
  readonly counts: EngineCounts;
  tokens: number;
  seconds: number;
  requests: number;
}

/** Counters of the engine. */
interface EngineCounts {
  slotHits: number;
  slotLoads: number;
  reads: number;
  readSeconds: number;
  prefillSteps: number;
  prefillSeconds: number;
  decodeSteps: number;
  decodeSeconds: number;
}

/**
 * Requests over growing numbers of adapters on disk, popular ones more often (Zipf, exponent 1), always the same number
 * in flight. The populations take turns on one engine.
 */
export async function benchArrivals(
  engine: EmbeddedEngine,
  options: ArrivalOptions,
  say: (text: string) => void,
): Promise<Record<string, ArrivalFigures>> {
  const { shape, requests, rounds } = options;
  const all = makePopulations(options.populations);
  for (const { count, offset } of all) {
    say(`${shape}: ${count} adapters on disk`);
    const sources = Array.from({ length: count }, (_, index) => ({
      id: `${count}-${index}`,
      path: adapterFolder(shape, offset + index, { rank: RANK, denseLayers: DENSE_LAYERS }),
    }));
    await engine.registerAdapters(sources);
  }
  // Graphs are loaded by the first steps that need them.
  await serve(engine, options, makePopulations(options.populations)[0], options.clients);
  for (let round = 0; round < rounds; round++) {
    for (const population of all) {
      say(`${shape}: ${requests} requests over ${population.count} adapters, round ${round + 1} of ${rounds}`);
      await serve(engine, options, population, requests);
    }
  }
  return Object.fromEntries(all.map((population) => [`a${population.count}`, figures(population)]));
}

function makePopulations(counts: readonly number[]): Population[] {
  let offset = 0;
  return counts.map((count) => ({
    count,
    offset: (offset += count) - count,
    draw: zipf(count, 1, xorshift32(count + 1)),
    used: new Set(),
    firstToken: [],
    betweenTokens: [],
    counts: {
      ...{ slotHits: 0, slotLoads: 0, reads: 0, readSeconds: 0 },
      ...{ prefillSteps: 0, prefillSeconds: 0, decodeSteps: 0, decodeSeconds: 0 },
    },
    tokens: 0,
    seconds: 0,
    requests: 0,
  }));
}

async function serve(engine: EmbeddedEngine, options: ArrivalOptions, population: Population, requests: number) {
  const before = await engineCounts(engine);
  const start = performance.now();
  let left = requests;
  const client = async () => {
    while (left-- > 0) await one(engine, options.shape, population);
  };
  await Promise.all(Array.from({ length: options.clients }, client));
  population.seconds += (performance.now() - start) / 1000;
  const after = await engineCounts(engine);
  for (const key of Object.keys(after) as (keyof EngineCounts)[]) population.counts[key] += after[key] - before[key];
}

async function one(engine: EmbeddedEngine, shape: ShapeName, population: Population): Promise<void> {
  const arrival = performance.now();
  const index = population.draw();
  population.used.add(index);
  let last: number | undefined;
  for await (const event of engine.generate(requestFor(shape, `${population.count}-${index}`, population.requests++))) {
    if (event.type !== "token") continue;
    const now = performance.now();
    if (last === undefined) population.firstToken.push(now - arrival);
    else population.betweenTokens.push(now - last);
    last = now;
    population.tokens++;
  }
}

async function engineCounts(engine: EmbeddedEngine): Promise<EngineCounts> {
  const families = await engine.metrics();
  const sample = (name: string) => {
    const found = families.find((family) => family.name === `openledger:${name}`)?.samples[0];
    if (found === undefined) throw new Error(`The engine has no metric openledger:${name}`);
    return found;
  };
  const [loads, prefill, decode] = ["adapter_load", "prefill_step", "decode_step"].map((name) =>
    sample(`${name}_seconds`),
  );
  return {
    slotHits: sample("adapter_slot_hits_total").value,
    slotLoads: sample("adapter_slot_loads_total").value,
    reads: loads.value,
    readSeconds: loads.sum ?? 0,
    prefillSteps: prefill.value,
    prefillSeconds: prefill.sum ?? 0,
    decodeSteps: decode.value,
    decodeSeconds: decode.sum ?? 0,
  };
}

function requestFor(shape: ShapeName, id: string, number: number): GenerateRequest {
  const random = xorshift32(number + 1);
  const { vocab } = SHAPES[shape];
  const tokens = Array.from({ length: PROMPT_TOKENS }, () => 3 + Math.floor(uniform(random) * (vocab - 3)));
  return {
    prompt: { tokens },
    adapters: [{ id }],
    sampling: { temperature: 0 },
    maxTokens: NEW_TOKENS,
    ignoreEos: true,
  };
}

function figures(population: Population): ArrivalFigures {
  const { tokens, seconds, firstToken, betweenTokens, used, requests, counts } = population;
  const both = (samples: readonly number[]) => ({
    p50: round3(percentile(samples, 0.5)),
    p99: round3(percentile(samples, 0.99)),
  });
  return {
    tokensPerSecond: round3(tokens / seconds),
    firstTokenMs: both(firstToken),
    interTokenMs: both(betweenTokens),
    distinctAdapters: used.size,
    slotHitRate: round3(counts.slotHits / (counts.slotHits + counts.slotLoads)),
    readRate: round3(counts.reads / requests),
    readMs: meanMs(counts.readSeconds, counts.reads),
    prefillSteps: { count: counts.prefillSteps, ms: meanMs(counts.prefillSeconds, counts.prefillSteps) },
    decodeSteps: { count: counts.decodeSteps, ms: meanMs(counts.decodeSeconds, counts.decodeSteps) },
    decodeRows: round3((tokens - requests) / counts.decodeSteps),
  };
}

function meanMs(seconds: number, count: number): number {
  return count === 0 ? 0 : round3((seconds / count) * 1000);
}
