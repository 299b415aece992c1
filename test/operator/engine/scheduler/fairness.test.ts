import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Sequence, SequenceJob } from "../../../../operator/engine/scheduler/sequence.ts";
import { VirtualCounters } from "../../../../operator/engine/scheduler/virtual-counters.ts";
import { WaitingQueue } from "../../../../operator/engine/scheduler/waiting-queue.ts";
import { temporaryFolder, tinyAdapter } from "../adapters/tiny-adapter.ts";
import { Bench, type Outcome, type Running } from "./bench-of-jobs.ts";
import { ToyRunner } from "./toy-runner.ts";

const root = temporaryFolder();
after(() => rmSync(root, { recursive: true }));
const ADAPTERS = Array.from({ length: 6 }, (_, i) => tinyAdapter(join(root, `a${i}`), i + 1));

function benchWith(slots: number, maxBatch: number): Bench {
  const bench = new Bench(new ToyRunner({ slots, blocks: 256 }), { maxBatch });
  for (const [i, path] of ADAPTERS.entries()) bench.store.register({ id: `a${i}`, path });
  return bench;
}

const endedFirst = (running: Running<Outcome>[]) => running.filter((one) => one.ended).length;
const inMemory = (bench: Bench, { job }: Running<Outcome>) =>
  job.adapters.every(({ ticket }) => bench.store.ready(ticket));
const prompt = (seed: number) => Array.from({ length: 20 }, (_, i) => (seed * 31 + i * 7) % 256);

test("a rare adapter is served next, however many requests of a popular one came before it", async () => {
  const bench = benchWith(1, 2);
  const popular = Array.from({ length: 100 }, (_, i) =>
    bench.generate({ prompt: prompt(i), adapters: [{ id: "a0" }], maxTokens: 10, payer: `payer ${i}` }),
  );
  await bench.run(() => endedFirst(popular) >= 10);
  const rare = bench.generate({ prompt: prompt(1000), adapters: [{ id: "a1" }], maxTokens: 10, payer: "late" });
  // Reading its files takes the disk's time, which says nothing about fairness.
  await bench.run(() => inMemory(bench, rare));
  const before = endedFirst(popular);
  await bench.run(() => rare.ended);
  // Those that were running, and the one that was lifted level with it.
  assert.ok(endedFirst(popular) - before <= 6, `${endedFirst(popular) - before} popular ones went first`);
  await bench.run();
});

test("a rare adapter that needs the only slot gets it, though the popular one never stops asking for it", async () => {
  const bench = benchWith(1, 4);
  let sent = 0;
  const popular: Running<Outcome>[] = [];
  const send = () =>
    popular.push(
      bench.generate({ prompt: prompt(sent++), adapters: [{ id: "a0" }], maxTokens: 10, payer: `p${sent}` }),
    );
  for (let i = 0; i < 8; i++) send();
  await bench.run(() => endedFirst(popular) >= 4);
  const rare = bench.generate({ prompt: prompt(1000), adapters: [{ id: "a1" }], maxTokens: 10, payer: "late" });
  const demand = () => {
    while (popular.length - endedFirst(popular) < 8) send();
  };
  await bench.run(() => {
    demand();
    return inMemory(bench, rare);
  });
  const before = sent;
  await bench.run(() => {
    demand();
    return rare.ended || sent > before + 100;
  });
  assert.ok(rare.ended, "100 popular requests went by and the rare one still waits");
  await bench.run();
});

test("payers with equal demand receive equal service, whatever each of them queued first", async () => {
  const bench = benchWith(2, 4);
  const byPayer = new Map<string, Running<Outcome>[]>();
  for (const [payer, count] of [
    ["greedy", 120],
    ["modest", 30],
    ["late", 30],
  ] as const) {
    const jobs = Array.from({ length: count }, (_, i) =>
      bench.generate({ prompt: prompt(i * 3 + count), maxTokens: 12, payer }),
    );
    byPayer.set(payer, jobs);
  }
  await bench.run(() => endedFirst(byPayer.get("modest")!) >= 20);
  const served = [...byPayer].map(([, jobs]) => endedFirst(jobs));
  assert.ok(Math.max(...served) - Math.min(...served) <= 4, `served ${served}`);
  await bench.run();
});

test("who pauses and comes back has saved nothing up", () => {
  const counters = new VirtualCounters();
  counters.enter("busy");
  counters.charge("busy", 1000);
  counters.enter("fresh");
  assert.equal(counters.value("fresh"), 1000);
  counters.charge("fresh", 50);
  counters.leave("fresh");
  counters.charge("busy", 500);
  counters.enter("fresh");
  assert.equal(counters.value("fresh"), 1500);
});

test("counters of payers who never come back do not pile up", () => {
  const counters = new VirtualCounters();
  for (let i = 0; i < 10_000; i++) {
    counters.enter("always");
    counters.enter(`once ${i}`);
    counters.charge(`once ${i}`, 1);
    counters.charge("always", 1);
    counters.leave(`once ${i}`);
    counters.leave("always");
  }
  const held = (counters as unknown as { values: Map<string, number> }).values.size;
  assert.ok(held < 2000, `${held} counters`);
});

test("an endless stream of newcomers cannot keep anybody waiting for ever", () => {
  const queue = new WaitingQueue<SequenceJob>(10);
  let arrival = 0;
  const make = (payer: string, adapterKey: string) =>
    ({ job: { payer, adapterKey, arrival: arrival++ }, admissionsBefore: 0 }) as Sequence<SequenceJob>;
  const victim = make("p", "a");
  // Neither its payer nor its adapter is the least served, so that newcomers on both sides undercut it.
  queue.push(make("p0", "a0"));
  queue.push(victim);
  queue.charge(victim.job, 1_000_000);
  let passed = 0;
  while (queue.lines()[0].sequences[0] !== victim) {
    queue.push(make(`new ${passed}`, `new ${passed}`));
    queue.admit(queue.lines()[0].sequences[0], 1);
    assert.ok(++passed < 50, "still not first after 50 others");
  }
});
