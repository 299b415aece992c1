import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex } from "../../../operator/protocol/bytes.ts";
import type { BatchHeader } from "../../../operator/protocol/header.ts";
import { headerHash } from "../../../operator/protocol/header.ts";
import type { WatchPort } from "../../../operator/settlement/watch-port.ts";
import { type WatchedBatch, Watcher, type WatcherOptions } from "../../../operator/settlement/watcher.ts";
import { customersOf, Office, settleLedger } from "./office.ts";

const BATCHES = 66;

describe("a watcher that comes late", async () => {
  const customers = customersOf(31);
  const { world, registry } = customers;
  const office = new Office(customers);
  for (let height = 1; height <= BATCHES; height++) {
    const asked = customers.ask();
    const { jobId } = await office.sequencer.admit(asked.paid);
    const { price } = await office.sequencer.complete(jobId, asked.outcome);
    settleLedger(customers, asked, price);
    await office.sequencer.seal();
  }
  const headers = office.journal.batches().flatMap(({ header }) => (header ? [header] : []));
  const published = new Map(headers.map(({ dataHash }) => [toHex(dataHash), office.journal.published(dataHash)!]));
  office.close();

  /** Nothing can be sent: no batch here can fall. */
  const chain = {
    settled: async () => {},
    isPending: async () => false,
    demandOf: async () => ({ status: "none", deadline: 0 }),
  } as unknown as WatchPort;

  function watcherOf(final: number, options: Partial<WatcherOptions> = {}) {
    const batches: WatchedBatch[] = headers.map((header, i) => ({
      ...{ header, headerHash: toHex(headerHash(header)), submittedAt: world.now },
      final: i + 1 === final,
    }));
    const read: bigint[] = [];
    const fetchData = async (header: BatchHeader) => {
      read.push(header.height);
      return published.get(toHex(header.dataHash));
    };
    const { separator, windows } = world;
    const seen = { ...registry, operators: () => [world.operator], batches: () => batches };
    const times = { ...windows, challenge: 1, reveal: 1, check: 1, collect: 1 };
    const watcher = new Watcher({ chain, registry: seen, fetchData, separator, windows: times, ...options });
    const round = async () => (await watcher.round()).map(({ height, what }) => `${height} ${what}`);
    return { round, read, batches };
  }

  it("starts from the newest final snapshot, and checks what is above", async () => {
    const { round, read } = watcherOf(65);
    assert.deepEqual(await round(), ["64 final", "65 honest", "66 honest"]);
    assert.deepEqual(read, [64n, 65n, 66n]);
    assert.deepEqual(await round(), []);
  });

  it("replays everything where nothing is final, or where it is told to", async () => {
    assert.equal((await watcherOf(63).round()).length, BATCHES);
    const { round } = watcherOf(66, { replayFinal: true });
    assert.deepEqual((await round()).slice(0, 2), ["1 honest", "2 honest"]);
  });

  it("is not kept from the new batches by an old one that nobody gives any more", async () => {
    const [first] = headers;
    const data = published.get(toHex(first.dataHash))!;
    published.delete(toHex(first.dataHash));
    assert.deepEqual(await watcherOf(66, { replayFinal: true }).round(), ["1 withheld"]);
    assert.deepEqual(await watcherOf(66).round(), ["64 final", "65 honest", "66 honest"]);
    published.set(toHex(first.dataHash), data);
  });

  it("forgets old states, and finds a fall all the same", async () => {
    const { round, batches } = watcherOf(66, { replayFinal: true });
    await round();
    // More than can be pending: the states are gone, and it begins again.
    const fallen = batches.splice(10);
    assert.equal((await round()).length, 10);
    batches.push(...fallen);
    assert.equal((await round()).length, BATCHES - 10);
    const few = batches.splice(60);
    await round();
    batches.push(...few);
    assert.equal((await round()).length, 6);
  });
});
