import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { EngineError } from "../../../../operator/engine/engine-error.ts";
import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { createModelRunner } from "../../../../operator/engine/runtime/graph-model-runner.ts";
import type { ModelRunner } from "../../../../operator/engine/runtime/model-runner.ts";
import type { Scheduler } from "../../../../operator/engine/scheduler/scheduler.ts";
import { TINY, temporaryFolder, tinyAdapter } from "../adapters/tiny-adapter.ts";
import { randomModel } from "../reference/random-model.ts";
import { Bench, type GenerateSpec, type Outcome, type Running } from "./bench-of-jobs.ts";
import { ToyRunner } from "./toy-runner.ts";

const root = temporaryFolder();
after(() => rmSync(root, { recursive: true }));
const VOCAB = 260;

function writeAdapters(name: string, config: ModelConfig, size: number): string[] {
  return Array.from({ length: 7 }, (_, i) =>
    tinyAdapter(join(root, `${name}${i}`), i + 1, { config, size, rank: 1 + (i % 4) }),
  );
}

function random(seed: number): (below: number) => number {
  let state = seed * 7919 + 12345;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function drawSpec(draw: (below: number) => number): GenerateSpec {
  // Few beginnings and many ends, so that prefixes are shared at whole blocks and inside them.
  const family = draw(4);
  const shared = draw(70);
  const prompt = Array.from({ length: 1 + shared + draw(30) }, (_, i) =>
    i < shared ? (i * 7 + family) % VOCAB : draw(VOCAB),
  );
  const count = [0, 1, 1, 1, 2][draw(5)];
  const adapters = Array.from({ length: count }, () => ({ id: `a${draw(7)}`, weight: [1, 1, 0.5][draw(3)] }));
  return {
    prompt,
    adapters,
    maxTokens: 1 + draw(60),
    choices: draw(6) === 0 ? 1 + draw(3) : 1,
    payer: `payer ${draw(3)}`,
    sampling: draw(3) === 0 ? { temperature: 1, topP: 0.9, seed: draw(1000), frequencyPenalty: 0.5 } : {},
    stops: draw(4) === 0 ? ["ab", "q"] : [],
    stopTokens: draw(2) === 0 ? [3, 4, 5] : [],
  };
}

function benchOn(runner: ModelRunner, adapters: string[], options: ConstructorParameters<typeof Bench>[1] = {}): Bench {
  const bench = new Bench(runner, options);
  for (const [i, path] of adapters.entries()) bench.store.register({ id: `a${i}`, path });
  return bench;
}

const essence = ({ tokens, text, finish }: Outcome) => ({
  tokens,
  text,
  finish: finish.map((event) => [event?.reason, event?.stopString]),
});

/**
 * Sends 200 requests in bursts while steps go on, with too little memory for all, cancels some of them, and compares
 * each with the same request on an engine that does nothing else.
 */
async function compare(
  seed: number,
  runner: ModelRunner,
  adapters: string[],
  alone: (spec: GenerateSpec) => Promise<Outcome>,
  { prefixHits = 300, ...memory }: { memoryBytes: number; largestBytes: number; prefixHits?: number },
): Promise<Scheduler> {
  const draw = random(seed);
  const bench = benchOn(runner, adapters, { maxBatch: 6, ...memory });
  const open: { spec: GenerateSpec; running: Running<Outcome>; cancelled: boolean }[] = [];
  for (let arrived = 0; arrived < 200; ) {
    for (let burst = draw(4); burst > 0 && arrived < 200; burst--, arrived++) {
      const spec = drawSpec(draw);
      open.push({ spec, running: bench.generate(spec), cancelled: false });
    }
    const steps = draw(12);
    let done = 0;
    await bench.run(() => bench.scheduler.idle || done++ > steps);
    if (open.length > 0 && draw(3) === 0) {
      const victim = open[draw(open.length)];
      if (!victim.running.ended) {
        victim.cancelled = true;
        bench.scheduler.cancel(victim.running.job, new EngineError("cancelled", "not wanted any more"));
      }
    }
  }
  await bench.run();
  const { statistics } = bench.scheduler;
  const { blocks } = bench.scheduler.gauges();
  assert.equal(blocks.used, 0, "every block came back");
  assert.equal(blocks.shared, 0);
  assert.equal(bench.store.counts.slotsActive, 0, "every slot came back");
  assert.ok(bench.store.list().every((info) => info.inUse === 0));
  // What is compared below happened under the conditions that the name of the test promises.
  assert.ok(statistics.preemptions > 2, `${statistics.preemptions} preemptions`);
  assert.ok(statistics.prefixHits > prefixHits, `${statistics.prefixHits} tokens found in the cache`);
  assert.ok(blocks.evicted > 10, `${blocks.evicted} blocks evicted`);
  assert.ok(bench.store.counts.slotLoads > 15, `${bench.store.counts.slotLoads} loads`);
  assert.ok(bench.store.counts.loadSeconds.sample().value > 7, "adapters were read again after they were pushed out");
  assert.ok(open.filter((one) => one.cancelled).length > 5);
  for (const { spec, running, cancelled } of open) {
    const outcome = await running.result;
    const whole = await alone(spec);
    if (cancelled) {
      assert.equal(outcome.error?.code, "cancelled");
      for (const [i, tokens] of outcome.tokens.entries()) {
        assert.deepEqual(tokens, whole.tokens[i].slice(0, tokens.length));
      }
    } else {
      assert.equal(outcome.error, undefined);
      assert.deepEqual(essence(outcome), essence(whole));
    }
  }
  return bench.scheduler;
}

const LIMITS = { blocks: 18, blockSize: 16, slots: 3, maxRank: 4 };

for (const seed of [1, 2, 3]) {
  test(`200 random arrivals give what each gives alone, on a model that remembers everything (${seed})`, async () => {
    const adapters = writeAdapters("toy", TINY, 0.3);
    const alone = async (spec: GenerateSpec) => {
      const bench = benchOn(new ToyRunner(), adapters);
      const running = bench.generate(spec);
      await bench.run();
      return running.result;
    };
    // Room for a few adapters in memory: they are read again and again.
    await compare(seed, new ToyRunner(LIMITS), adapters, alone, { memoryBytes: 20 * 1024, largestBytes: 10 * 1024 });
  });
}

for (const quantisation of ["f32", "q4"] as const) {
  test(`200 random arrivals give what each gives alone, token for token, in exact mode (${quantisation})`, async () => {
    const { folder } = randomModel({ vocab_size: VOCAB });
    const options = { model: folder, quantisation, exact: true, threads: 1, cache: join(root, "graphs") };
    const runner = await createModelRunner({ ...options, ...LIMITS });
    const quiet = await createModelRunner({ ...options, ...LIMITS, blocks: 64 });
    const adapters = writeAdapters(quantisation, runner.config, 0.1);
    const alone = async (spec: GenerateSpec) => {
      // Its own pool and its own slots: nothing is left over from the request before.
      const bench = benchOn(quiet, adapters, { largestBytes: 30 * 1024 });
      const running = bench.generate(spec);
      await bench.run();
      return running.result;
    };
    await compare(4, runner, adapters, alone, { memoryBytes: 80 * 1024, largestBytes: 30 * 1024 });
    await runner.close();
    await quiet.close();
  });
}

// The longest sequences have ten blocks.
for (const pattern of [
  { sinkBlocks: 1, localBlocks: 3, stride: 2 },
  { sinkBlocks: 0, localBlocks: 5, stride: 0 },
]) {
  const name = `${pattern.sinkBlocks},${pattern.localBlocks},${pattern.stride}`;
  const sparse = { blockSize: LIMITS.blockSize, ...pattern };

  test(`200 random arrivals that leave blocks out (${name}) give what each gives alone`, async () => {
    const adapters = writeAdapters("sparse toy", TINY, 0.3);
    const alone = async (spec: GenerateSpec) => {
      const bench = benchOn(new ToyRunner({}, sparse), adapters);
      const running = bench.generate(spec);
      await bench.run();
      return running.result;
    };
    // How many tokens are found hangs on when adapters have been read: 190 to 210 on a quiet machine, fewer on a busy one.
    const memory = { memoryBytes: 20 * 1024, largestBytes: 10 * 1024, prefixHits: 50 };
    // Blocks are given back early, so memory must be shorter for the same trouble.
    const scheduler = await compare(5, new ToyRunner({ ...LIMITS, blocks: 14 }, sparse), adapters, alone, memory);
    assert.ok(scheduler.statistics.blocksGivenBack > 50, `${scheduler.statistics.blocksGivenBack} given back`);
  });

  test(`200 random arrivals that leave blocks out (${name}) give what each gives alone, in exact mode`, async () => {
    const { folder } = randomModel({ vocab_size: VOCAB });
    const options = {
      model: folder,
      quantisation: "q4",
      exact: true,
      threads: 1,
      cache: join(root, "graphs"),
    } as const;
    const runner = await createModelRunner({ ...options, ...LIMITS, blocks: 14, sparse });
    const quiet = await createModelRunner({ ...options, ...LIMITS, blocks: 64, sparse });
    const adapters = writeAdapters("sparse", runner.config, 0.1);
    const alone = async (spec: GenerateSpec) => {
      const bench = benchOn(quiet, adapters, { largestBytes: 30 * 1024 });
      const running = bench.generate(spec);
      await bench.run();
      return running.result;
    };
    const memory = { memoryBytes: 80 * 1024, largestBytes: 30 * 1024, prefixHits: 150 };
    await compare(6, runner, adapters, alone, memory);
    assert.ok(runner.blocksAttended.leftOut > 100, `${runner.blocksAttended.leftOut} left out`);
    await runner.close();
    await quiet.close();
  });
}
