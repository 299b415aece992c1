import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { ScoreResult } from "../../../../operator/engine/engine.ts";
import { EngineError, type EngineErrorCode } from "../../../../operator/engine/engine-error.ts";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { TINY, temporaryFolder, tinyAdapter } from "../adapters/tiny-adapter.ts";
import { Bench, type Outcome } from "./bench-of-jobs.ts";
import { ToyRunner } from "./toy-runner.ts";

const root = temporaryFolder();
after(() => rmSync(root, { recursive: true }));
const prompt = (length: number, seed = 1) => Array.from({ length }, (_, i) => (seed * 37 + i * 11) % 256);
const failsWith = (code: EngineErrorCode) => (error: unknown) => error instanceof EngineError && error.code === code;

async function only<T>(bench: Bench, running: { result: Promise<T> }): Promise<T> {
  await bench.run();
  return running.result;
}

test("chunks of inputs and single tokens alternate, so that a long prompt does not stop those who generate", async () => {
  const runner = new ToyRunner({ blocks: 256 });
  const bench = new Bench(runner, { prefillTokens: 24 });
  const short = bench.generate({ prompt: prompt(5), maxTokens: 40 });
  await bench.run(() => runner.steps.length >= 4);
  const before = runner.steps.length;
  bench.generate({ prompt: prompt(240, 2), maxTokens: 2 });
  await bench.run(() => runner.steps.length >= before + 18);
  const kinds = runner.steps.slice(before, before + 18).map((step) => (step.tokens > 1 ? "input" : "token"));
  assert.deepEqual(new Set(kinds.filter((_, i) => i % 2 === 0)).size, 1);
  assert.notEqual(kinds[0], kinds[1]);
  assert.ok(runner.steps.every((step) => step.tokens <= 24));
  await bench.run();
  assert.equal((await short.result).tokens[0].length, 40);
});

test("choices of one request share the computation of its prompt", async () => {
  const runner = new ToyRunner();
  const bench = new Bench(runner);
  const { tokens, events } = await only(
    bench,
    bench.generate({ prompt: prompt(50), choices: 4, maxTokens: 5, sampling: { temperature: 1, seed: 3 } }),
  );
  // The prompt once, its last token again for each further choice, and four tokens fed back for each.
  assert.equal(runner.computedTokens, 50 + 3 + 4 * 4);
  assert.equal(new Set(tokens.map(String)).size, 4, "each choice draws its own numbers");
  const done = events.at(-1)!;
  assert.deepEqual(done.type === "done" && done.usage, { promptTokens: 50, cachedTokens: 0, completionTokens: 20 });
  assert.equal(bench.scheduler.gauges().blocks.used, 0);
});

test("requests that arrive together with the same beginning compute it once", async () => {
  const runner = new ToyRunner();
  const bench = new Bench(runner);
  const system = prompt(64);
  const jobs = [1, 2, 3, 4].map((seed) => bench.generate({ prompt: [...system, ...prompt(6, seed)], maxTokens: 1 }));
  await bench.run();
  assert.equal(runner.computedTokens, 64 + 4 * 6);
  for (const job of jobs) assert.equal((await job.result).error, undefined);
});

test("scores are those of each context alone, and what contexts share is computed once", async () => {
  const parts = [prompt(20, 1), prompt(13, 2), prompt(17, 3), prompt(9, 4)];
  const question = prompt(8, 9);
  // The whole context, and each with one part left out: what attribution asks for.
  const contexts = [parts, ...parts.map((_, out) => parts.filter((_, i) => i !== out))].map((kept) => [
    ...kept.flat(),
    ...question,
  ]);
  const continuation = prompt(7, 12);
  const runner = new ToyRunner();
  const bench = new Bench(runner, { maxBatch: 4 });
  const result = (await only(bench, bench.score(contexts, continuation))) as ScoreResult;
  const distinct = new Set(
    contexts.flatMap((context) => {
      const input = [...context, ...continuation.slice(0, -1)];
      return input.map((_, end) => input.slice(0, end + 1).join());
    }),
  );
  // Contexts share their beginnings; only where one ends may its last token be computed again for the next.
  assert.ok(runner.computedTokens <= distinct.size + contexts.length, `${runner.computedTokens} of ${distinct.size}`);
  assert.equal(result.usage.cachedTokens, result.usage.promptTokens - contexts.length - runner.computedTokens);
  for (const [i, context] of contexts.entries()) {
    const single = new Bench(new ToyRunner());
    const expected = (await only(single, single.score([context], continuation))) as ScoreResult;
    assert.deepEqual(result.scores[i], expected.scores[0]);
    assert.equal(result.scores[i].tokenLogprobs.length, continuation.length);
    assert.equal(result.scores[i].contextTokens, context.length);
  }
});

test("contexts shorter than a block share their beginning too, also when only one fits the batch", async () => {
  const runner = new ToyRunner();
  const bench = new Bench(runner, { maxBatch: 1 });
  const contexts = [1, 2, 3, 4, 5].map((seed) => [...prompt(10), 100 + seed, 200]);
  await only(bench, bench.score(contexts, [7]));
  assert.equal(runner.computedTokens, 10 + 5 * 2);
  assert.equal(bench.scheduler.gauges().blocks.used, 0, "what was kept for the others is given back");
});

test("scoring agrees with the log-probabilities that generation reports", async () => {
  const bench = new Bench(new ToyRunner());
  const answer = await only(bench, bench.generate({ prompt: prompt(30), maxTokens: 6, logprobs: 2 }));
  const reported = answer.events.flatMap((event) => (event.type === "token" ? [event.logprob!] : []));
  const scored = (await only(bench, bench.score([prompt(30)], answer.tokens[0]))) as ScoreResult;
  for (const [i, logprob] of scored.scores[0].tokenLogprobs.entries()) {
    assert.ok(Math.abs(logprob - reported[i].logprob) < 1e-5);
    assert.equal(reported[i].top.length, 2);
    assert.equal(reported[i].top[0].tokenId, answer.tokens[0][i], "greedy takes the likeliest");
  }
});

test("an answer that was just generated is scored without computing its prompt again, wherever that stands in the order", async () => {
  for (const first of [1, 200]) {
    // The whole prompt is the first of the contexts in one case, between or after the others in the other.
    const parts = [
      [first, ...prompt(39, 1)],
      [100, ...prompt(39, 2)],
      [50, ...prompt(39, 3)],
    ];
    const whole = parts.flat();
    const runner = new ToyRunner();
    const bench = new Bench(runner);
    const answer = (await only(bench, bench.generate({ prompt: whole, maxTokens: 8 }))).tokens[0];
    const contexts = [whole, ...parts.map((_, out) => parts.filter((_, i) => i !== out).flat())];
    const before = runner.computedTokens;
    await only(bench, bench.score(contexts, answer));
    const beginnings = (tokens: number[]) => tokens.map((_, end) => tokens.slice(0, end + 1).join());
    const known = new Set(beginnings(whole));
    const fresh = new Set(contexts.slice(1).flatMap((context) => beginnings([...context, ...answer.slice(0, -1)])));
    const needed = [...fresh].filter((beginning) => !known.has(beginning)).length + answer.length;
    // What is worth less than a copy of a block, and the end of the prompt in a block that was never full.
    const rest = runner.limits.blockSize * contexts.length;
    const computed = runner.computedTokens - before;
    assert.ok(computed <= needed + rest, `${computed} tokens computed, ${needed} needed`);
  }
});

test("normalisers make log-probabilities of a generated token's logits, for whoever asks", async () => {
  const asked: boolean[] = [];
  const runner = new ToyRunner();
  runner.onStep = (rows) => asked.push(...rows.map(({ normalised }) => normalised === true));
  const bench = new Bench(runner);
  await only(bench, bench.generate({ prompt: prompt(5), maxTokens: 3 }));
  assert.ok(!asked.includes(true));
  await only(bench, bench.generate({ prompt: prompt(5, 2), maxTokens: 3, logprobs: 0 }));
  assert.ok(asked.includes(true));
});

test("many contexts in little memory are scored all the same", async () => {
  const runner = new ToyRunner({ blocks: 8 });
  const bench = new Bench(runner, { maxBatch: 4 });
  const contexts = Array.from({ length: 30 }, (_, i) => [...prompt(20 + (i % 5) * 7), ...prompt(10, i)]);
  const result = (await only(bench, bench.score(contexts, prompt(5, 3)))) as ScoreResult;
  const wide = new Bench(new ToyRunner({ blocks: 200 }));
  const expected = (await only(wide, wide.score(contexts, prompt(5, 3)))) as ScoreResult;
  assert.deepEqual(result.scores, expected.scores);
});

test("a full queue refuses with a clear error and takes requests again once it has moved", async () => {
  const bench = new Bench(new ToyRunner(), { maxQueue: 3, maxBatch: 1 });
  const accepted = [1, 2, 3].map((seed) => bench.generate({ prompt: prompt(5, seed), maxTokens: 3 }));
  assert.throws(() => bench.generate({ prompt: prompt(5) }), failsWith("overloaded"));
  assert.equal(bench.scheduler.statistics.refused, 1);
  await bench.run(() => accepted[0].ended);
  const later = bench.generate({ prompt: prompt(5, 4), maxTokens: 3 });
  await bench.run();
  assert.equal((await later.result).tokens[0].length, 3);
});

test("draining answers everything accepted and refuses the rest", async () => {
  const bench = new Bench(new ToyRunner(), { maxBatch: 2 });
  const accepted = [1, 2, 3, 4, 5].map((seed) => bench.generate({ prompt: prompt(9, seed), maxTokens: 6 }));
  let drained = false;
  const drain = bench.scheduler.drain().then(() => {
    drained = true;
  });
  assert.throws(() => bench.generate({ prompt: prompt(5) }), failsWith("draining"));
  await bench.run(() => accepted.some((job) => job.ended));
  assert.equal(drained, false);
  await bench.run();
  await drain;
  for (const job of accepted) assert.equal((await job.result).tokens[0].length, 6);
});

test("a prompt that cannot fit is refused at once, one that just fits is answered", async () => {
  const bench = new Bench(new ToyRunner({ blocks: 3 }));
  assert.throws(() => bench.generate({ prompt: prompt(48) }), failsWith("context_too_long"));
  const { tokens, finish } = await only(bench, bench.generate({ prompt: prompt(40), maxTokens: 100 }));
  assert.equal(tokens[0].length, 8);
  assert.equal(finish[0]?.reason, "length");
});

test("when memory runs out the youngest is computed again later, and the oldest never loses anything", async () => {
  const bench = new Bench(new ToyRunner({ blocks: 10 }), { maxBatch: 4 });
  const jobs = [1, 2, 3].map((seed) => bench.generate({ prompt: prompt(30, seed), maxTokens: 60 }));
  await bench.run();
  const preemptions = await Promise.all(
    jobs.map(async (job) => {
      const { tokens, events } = await job.result;
      assert.equal(tokens[0].length, 60);
      const done = events.at(-1)!;
      return done.type === "done" ? done.timings.preemptions : -1;
    }),
  );
  assert.equal(preemptions[0], 0);
  assert.ok(preemptions[2] > 0);
});

test("a broken adapter fails its own request and nothing else", async () => {
  const path = tinyAdapter(join(root, "cut"), 1);
  writeFileSync(join(path, "adapter_model.safetensors"), "cut off");
  const overflowing = tinyAdapter(join(root, "overflowing"), 2);
  const runner = new ToyRunner();
  runner.broken = readAdapter(overflowing, TINY).hash;
  const bench = new Bench(runner);
  bench.store.register({ id: "cut", path });
  bench.store.register({ id: "overflowing", path: overflowing });
  bench.store.register({ id: "good", path: tinyAdapter(join(root, "good"), 3) });
  const jobs = ["cut", "good", "overflowing"].map((id) => bench.generate({ prompt: prompt(9), adapters: [{ id }] }));
  const base = bench.generate({ prompt: prompt(9) });
  await bench.run();
  const [cut, good, bad] = await Promise.all(jobs.map((job) => job.result));
  assert.equal(cut.error?.code, "adapter_failed");
  assert.equal(bad.error?.code, "adapter_failed");
  assert.match(bad.error!.message, /overflowing/);
  assert.equal(good.error, undefined);
  assert.equal((await base.result).error, undefined);
  assert.equal(bench.scheduler.gauges().blocks.used, 0);
});

test("an adapter replaced on disk under the same name is served from neither its old slot nor its old prefix", async () => {
  const path = tinyAdapter(join(root, "changing"), 1);
  const bench = new Bench(new ToyRunner());
  bench.store.register({ id: "x", path });
  const spec = { prompt: prompt(40), adapters: [{ id: "x" }], maxTokens: 8 };
  const before = await only(bench, bench.generate(spec));
  tinyAdapter(path, 2);
  const after = await only(bench, bench.generate(spec));
  const fresh = new Bench(new ToyRunner());
  fresh.store.register({ id: "y", path });
  const expected = await only(fresh, fresh.generate({ ...spec, adapters: [{ id: "y" }] }));
  assert.deepEqual(after.tokens, expected.tokens);
  assert.notDeepEqual(after.tokens, before.tokens);
  const hash = (outcome: Outcome) =>
    outcome.events.flatMap((event) => (event.type === "start" ? event.adapters : []))[0].hash;
  assert.equal(hash(after), hash(expected));
});

test("a step that throws fails the requests in it, and the next request is served", async () => {
  const runner = new ToyRunner();
  const bench = new Bench(runner);
  runner.onStep = () => {
    throw new Error("device lost");
  };
  const failed = await only(bench, bench.generate({ prompt: prompt(5) }));
  assert.equal(failed.error?.code, "failed");
  assert.match(failed.error!.message, /device lost/);
  runner.onStep = () => {};
  assert.equal((await only(bench, bench.generate({ prompt: prompt(5) }))).error, undefined);
});

test("stop tokens and stop strings end a choice and are no part of it", async () => {
  const bench = new Bench(new ToyRunner());
  const whole = await only(bench, bench.generate({ prompt: prompt(12), maxTokens: 20 }));
  const at = 7;
  const byToken = await only(
    bench,
    bench.generate({ prompt: prompt(12), maxTokens: 20, stopTokens: [whole.tokens[0][at]] }),
  );
  const first = whole.tokens[0].indexOf(whole.tokens[0][at]);
  assert.deepEqual(byToken.tokens[0], whole.tokens[0].slice(0, first));
  assert.equal(byToken.finish[0]?.reason, "stop");
  const stop = whole.text[0].slice(4, 7);
  const byText = await only(bench, bench.generate({ prompt: prompt(12), maxTokens: 20, stops: [stop] }));
  assert.equal(byText.text[0], whole.text[0].slice(0, whole.text[0].indexOf(stop)));
  assert.deepEqual([byText.finish[0]?.reason, byText.finish[0]?.stopString], ["stop", stop]);
});

test("two names of the same content in one blend add their weights", async () => {
  const path = tinyAdapter(join(root, "twice"), 5);
  const runner = new ToyRunner();
  const bench = new Bench(runner);
  bench.store.register({ id: "one", path });
  bench.store.register({ id: "two", path });
  const adapters = [
    { id: "one", weight: 0.25 },
    { id: "two", weight: 0.75 },
  ];
  const blend = await only(bench, bench.generate({ prompt: prompt(5), adapters }));
  const plain = await only(bench, bench.generate({ prompt: prompt(5), adapters: [{ id: "one" }] }));
  assert.deepEqual(blend.tokens, plain.tokens);
  assert.ok(runner.steps.every((step) => step.slots[0].length === 1));
});

test("scoring in the least memory that holds one context gives what plenty of memory gives", async () => {
  let state = 7;
  const draw = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 40; round++) {
    const parts = Array.from({ length: 6 }, (_, i) => prompt(5 + draw(25), i));
    const contexts = Array.from({ length: 2 + draw(12) }, () => [
      ...parts.filter(() => draw(3) > 0).flat(),
      ...prompt(1 + draw(4), draw(5)),
    ]);
    const continuation = prompt(1 + draw(12), 3);
    const longest = Math.max(...contexts.map((context) => context.length)) + continuation.length - 1;
    const tight = new Bench(new ToyRunner({ blocks: Math.ceil(longest / 16) + draw(3) }), { maxBatch: 1 + draw(6) });
    const scored = tight.score(contexts, continuation);
    const others = Array.from({ length: draw(3) }, (_, i) => tight.generate({ prompt: prompt(10, i), maxTokens: 6 }));
    const result = (await only(tight, scored)) as ScoreResult;
    const wide = new Bench(new ToyRunner({ blocks: 400 }));
    const expected = (await only(wide, wide.score(contexts, continuation))) as ScoreResult;
    assert.deepEqual(result.scores, expected.scores);
    for (const other of others) assert.equal((await other.result).error, undefined);
    assert.equal(tight.scheduler.gauges().blocks.used, 0);
  }
});

test("with blocks left out, whoever takes over a short beginning of a long context finds all of it", async () => {
  const sparse = { blockSize: 16, sinkBlocks: 0, localBlocks: 1, stride: 0 };
  const bench = new Bench(new ToyRunner({ blocks: 10 }, sparse));
  const long = prompt(128);
  await only(bench, bench.score([long], [7]));
  // The first blocks of the long context lose their memory; those at its end are still there.
  await only(bench, bench.generate({ prompt: prompt(70, 5), maxTokens: 4 }));
  assert.ok(bench.scheduler.gauges().blocks.evicted > 0);
  const found = bench.scheduler.statistics.prefixHits;
  await only(bench, bench.score([long], [7]));
  assert.equal(bench.scheduler.statistics.prefixHits - found, 127, "alone it is found across what is missing");
  const contexts = [long, [...long.slice(0, 40), 255, 254]];
  const result = (await only(bench, bench.score(contexts, [7, 8]))) as ScoreResult;
  const fresh = new Bench(new ToyRunner({}, sparse));
  for (const [i, context] of contexts.entries()) {
    const expected = (await only(fresh, fresh.score([context], [7, 8]))) as ScoreResult;
    assert.deepEqual(result.scores[i], expected.scores[0]);
  }
});
