import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { EngineError } from "../../../../operator/engine/engine-error.ts";
import { temporaryFolder, tinyAdapter } from "../adapters/tiny-adapter.ts";
import { Bench, type GenerateSpec, type Outcome, type Running } from "./bench-of-jobs.ts";
import { ToyRunner } from "./toy-runner.ts";

const root = temporaryFolder();
after(() => rmSync(root, { recursive: true }));
const ADAPTERS = Array.from({ length: 7 }, (_, i) => tinyAdapter(join(root, `a${i}`), i + 1));

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
    i < shared ? (i * 7 + family) % 256 : draw(256),
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

const register = (bench: Bench) => {
  for (const [i, path] of ADAPTERS.entries()) bench.store.register({ id: `a${i}`, path });
};

async function alone(spec: GenerateSpec): Promise<Outcome> {
  const bench = new Bench(new ToyRunner());
  register(bench);
  const running = bench.generate(spec);
  await bench.run();
  return running.result;
}

const essence = ({ tokens, text, finish }: Outcome) => ({
  tokens,
  text,
  finish: finish.map((event) => [event?.reason, event?.stopString]),
});

for (const seed of [1, 2, 3]) {
  test(`200 random arrivals give what each gives alone, while memory runs out and requests are cancelled (${seed})`, async () => {
    const draw = random(seed);
    const runner = new ToyRunner({ blocks: 18, slots: 3 });
    // Room for three or four adapters in memory: they are read again and again.
    const bench = new Bench(runner, { maxBatch: 6, memoryBytes: 32 * 1024 });
    register(bench);
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
    let cancelled = 0;
    for (const { spec, running, cancelled: wasCancelled } of open) {
      const outcome = await running.result;
      if (wasCancelled) {
        cancelled++;
        assert.equal(outcome.error?.code, "cancelled");
        const whole = await alone(spec);
        for (const [i, tokens] of outcome.tokens.entries()) {
          assert.deepEqual(tokens, whole.tokens[i].slice(0, tokens.length));
        }
      } else {
        assert.equal(outcome.error, undefined);
        assert.deepEqual(essence(outcome), essence(await alone(spec)));
      }
    }
    const { statistics } = bench.scheduler;
    const { blocks } = bench.scheduler.gauges();
    assert.ok(statistics.preemptions > 2, `${statistics.preemptions} preemptions`);
    assert.ok(statistics.prefixHits > 300, `${statistics.prefixHits} tokens found in the cache`);
    assert.ok(bench.store.counts.slotLoads > 15, `${bench.store.counts.slotLoads} loads`);
    assert.ok(bench.store.counts.loadSeconds.sample().value > 7, "adapters were read again after they were pushed out");
    assert.ok(cancelled > 5 && blocks.evicted > 10 && runner.copies > 5);
    assert.equal(blocks.used, 0, "every block came back");
    assert.equal(blocks.shared, 0);
    assert.equal(bench.store.counts.slotsActive, 0, "every slot came back");
    assert.ok(bench.store.list().every((info) => info.inUse === 0));
  });
}
