import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type AdapterReader, ThreadAdapterReader } from "../../../../operator/engine/adapters/adapter-reader.ts";
import { AdapterStore } from "../../../../operator/engine/adapters/adapter-store.ts";
import type { AdapterTicket } from "../../../../operator/engine/adapters/adapter-ticket.ts";
import { EngineError, type EngineErrorCode } from "../../../../operator/engine/engine-error.ts";
import type { LoadedAdapter } from "../../../../operator/engine/model/lora.ts";
import { TINY, temporaryFolder, tinyAdapter } from "./tiny-adapter.ts";

const root = temporaryFolder();
const reader = new ThreadAdapterReader(TINY);
after(async () => {
  await reader.close();
  rmSync(root, { recursive: true });
});

let made = 0;
const folder = (seed: number, options = {}) => tinyAdapter(join(root, `adapter-${made++}`), seed, options);

interface StoreSetup {
  slots?: number;
  /** Adapters that memory holds. */
  room?: number;
  maxRank?: number;
  reader?: AdapterReader;
  onChange?: () => void;
}

function storeWith({ slots = 2, room = 4, maxRank = 8, reader: own = reader, onChange }: StoreSetup = {}) {
  const inSlot: (LoadedAdapter | undefined)[] = new Array(slots);
  let changed: () => void = () => {};
  const store = new AdapterStore({
    reader: own,
    slots,
    slotMemory: {
      loadSlot: (slot, adapter) => {
        inSlot[slot] = adapter;
      },
      clearSlot: (slot) => {
        inSlot[slot] = undefined;
      },
    },
    maxRank,
    memoryBytes: room * bytesOfOne,
    largestBytes: bytesOfOne,
    onChange: () => {
      onChange?.();
      changed();
    },
    now: () => performance.now(),
  });
  /** Waits as the scheduler does: asks again whenever the store says that something changed. */
  const until = async (done: () => boolean) => {
    while (!done()) {
      await new Promise<void>((resolve) => {
        changed = resolve;
        if (done()) resolve();
      });
    }
  };
  const ready = async (ticket: AdapterTicket) => {
    store.want([[ticket]]);
    await until(() => store.ready(ticket) || ticket.error !== undefined);
    return ticket;
  };
  return { store, inSlot, until, ready };
}

const bytesOfOne = await reader.read(folder(1)).then((adapter) => adapter.bytes);
const failsWith = (code: EngineErrorCode) => (error: unknown) => error instanceof EngineError && error.code === code;

test("an adapter comes from disk to a slot, once, however many requests use it", async () => {
  const { store, inSlot, ready } = storeWith();
  store.register({ id: "a", path: folder(1) });
  const first = await ready(store.begin("a"));
  const second = await ready(store.begin("a"));
  assert.equal(first.hash, second.hash);
  assert.deepEqual(store.acquire([first]), [0]);
  assert.deepEqual(store.acquire([second]), [0]);
  assert.equal(inSlot[0]?.hash, first.hash);
  assert.equal(store.counts.slotLoads, 1);
  assert.equal(store.list()[0].tier, "slot");
  assert.equal(store.list()[0].inUse, 2);
});

test("files changed under the same name serve every later request, and never one that has started", async () => {
  const { store, inSlot, ready } = storeWith();
  const path = folder(1);
  store.register({ id: "a", path });
  const before = await ready(store.begin("a"));
  assert.deepEqual(store.acquire([before]), [0]);
  const oldHash = before.hash;
  tinyAdapter(path, 2);
  const later = await ready(store.begin("a"));
  assert.notEqual(later.hash, oldHash);
  assert.equal(before.hash, oldHash);
  assert.deepEqual(store.acquire([later]), [1]);
  assert.deepEqual([inSlot[0]?.hash, inSlot[1]?.hash], [oldHash, later.hash]);
});

test("a file that is rewritten again and again is never served older than the request", async () => {
  const { store, ready } = storeWith();
  const path = folder(1);
  store.register({ id: "a", path });
  for (let round = 0; round < 12; round++) {
    tinyAdapter(path, 100 + round);
    const expected = (await reader.read(path)).hash;
    const early = store.begin("a");
    if (round % 3 === 0) {
      await turn();
      store.want([[early]]);
    }
    const ticket = await ready(store.begin("a"));
    assert.equal(ticket.hash, expected);
    store.end(early);
    store.end(ticket);
  }
});

test("a request that comes between the reading of old files and their arrival gets the new ones", async () => {
  const path = folder(1);
  let late: AdapterTicket | undefined;
  let looked: () => void = () => {};
  const slow: AdapterReader = {
    read: async (...args) => {
      const read = await reader.read(...args);
      if (late === undefined) {
        tinyAdapter(path, 2);
        const seen = new Promise<void>((resolve) => {
          looked = resolve;
        });
        late = store.begin("a");
        await seen;
      }
      return read;
    },
    close: async () => {},
  };
  const { store, ready } = storeWith({ reader: slow, onChange: () => looked() });
  store.register({ id: "a", path });
  await ready(store.begin("a"));
  const expected = (await reader.read(path)).hash;
  await ready(late!);
  assert.equal(late!.hash, expected);
});

test("slots are given all or none, and one in use is never filled with something else", async () => {
  const { store, inSlot, ready } = storeWith({ slots: 2 });
  for (const id of ["a", "b", "c"]) store.register({ id, path: folder(id.charCodeAt(0)) });
  const tickets = [];
  for (const id of ["a", "b", "c"]) tickets.push(await ready(store.begin(id)));
  const [a, b, c] = tickets;
  const first = store.acquire([a])!;
  assert.equal(store.acquire([b, c]), undefined);
  const blend = store.acquire([a, b])!;
  assert.equal(store.acquire([c]), undefined);
  store.release(blend);
  assert.deepEqual(store.acquire([c]), [1], "a still has its first user");
  assert.equal(inSlot[first[0]]?.hash, a.hash);
});

test("host memory stays within its bound, the longest unused goes first and the pinned one stays", async () => {
  const { store, ready } = storeWith({ slots: 1, room: 10 });
  for (let i = 0; i < 13; i++) store.register({ id: `a${i}`, path: folder(50 + i) });
  await store.pin("a0", true);
  for (let i = 1; i < 13; i++) {
    store.end(await ready(store.begin(`a${i}`)));
    assert.ok(store.counts.host.bytes <= 10 * bytesOfOne);
  }
  const onDisk = store.list().flatMap(({ id, tier }) => (tier === "disk" ? [id] : []));
  assert.deepEqual(onDisk, ["a1", "a2", "a3"]);
  await store.pin("a4", true);
  await assert.rejects(store.pin("a5", true), failsWith("overloaded"));
  await ready(store.begin("a1"));
  assert.equal(store.list()[1].tier, "memory", "what is not pinned still finds room");
});

test("the memory of an adapter that was pushed out is read into, and never that of one that stays", async () => {
  const spares: (ArrayBuffer | undefined)[] = [];
  const counting: AdapterReader = {
    read: (path, maxBytes, spare) => {
      spares.push(spare);
      return reader.read(path, maxBytes, spare);
    },
    close: async () => {},
  };
  const { store, inSlot, ready } = storeWith({ slots: 3, room: 2, reader: counting });
  const contents: Float32Array[] = [];
  for (let i = 0; i < 3; i++) {
    store.register({ id: `a${i}`, path: folder(300 + i) });
    const ticket = await ready(store.begin(`a${i}`));
    store.acquire([ticket]);
    contents.push(inSlot[i]!.layers[1].down_proj!.b);
  }
  assert.deepEqual(spares.slice(0, 2), [undefined, undefined]);
  assert.ok(spares[2] instanceof ArrayBuffer);
  assert.equal(contents[0].length, 0, "given away");
  for (let i = 1; i < 3; i++) {
    assert.deepEqual(contents[i], (await reader.read(folder(300 + i))).layers[1].down_proj!.b);
  }
});

test("files are read by a thread that gives way to those that compute", { skip: process.platform !== "linux" }, () => {
  const niceness = readdirSync("/proc/self/task").map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, "utf8");
    // Numbered after the name in parentheses, which may hold spaces: priority, niceness.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
  });
  const own = Number(readFileSync("/proc/thread-self/stat", "utf8").split(") ")[1].split(" ")[16]);
  // The test's reader is the only other thread with a priority of its own; 19 is the lowest there is.
  assert.ok(niceness.some((value) => value > own) || own === 19, String(niceness));
});

test("a file larger than any adapter for this engine is refused without being read", async () => {
  const { store } = storeWith();
  const path = folder(1);
  truncateSync(join(path, "adapter_model.safetensors"), 2 ** 40);
  await assert.rejects(store.load({ id: "huge", path }), /larger than this engine is set for/);
});

test("a broken adapter fails its own requests until its files are mended", async () => {
  const { store, ready, until } = storeWith();
  const path = folder(1);
  writeFileSync(join(path, "adapter_model.safetensors"), "nonsense, far too short");
  store.register({ id: "broken", path });
  store.register({ id: "good", path: folder(2) });
  let reads = 0;
  const { read } = reader;
  reader.read = (...args) => {
    reads++;
    return read.apply(reader, args);
  };
  after(() => {
    reader.read = read;
  });
  const broken = store.begin("broken");
  const good = store.begin("good");
  store.want([[broken], [good]]);
  await ready(good);
  await ready(broken);
  assert.equal(broken.error?.code, "adapter_failed");
  assert.deepEqual(store.acquire([good]), [0]);
  assert.equal(reads, 2);
  const again = store.begin("broken");
  await until(() => again.error !== undefined);
  assert.equal(reads, 2, "what is known to be broken is not read again");
  tinyAdapter(path, 3);
  const mended = await ready(store.begin("broken"));
  assert.equal(mended.error, undefined);
  assert.notEqual(mended.hash, undefined);
});

test("a folder that is not there, content other than expected, and too large a rank are refused by name", async () => {
  const { store, ready } = storeWith({ maxRank: 4 });
  await assert.rejects(store.load({ id: "x", path: join(root, "nowhere") }), failsWith("adapter_failed"));
  const path = folder(7);
  const expectedHash = "0".repeat(64);
  await assert.rejects(store.load({ id: "x", path, expectedHash }), failsWith("adapter_failed"));
  const { hash } = await store.load({ id: "x", path });
  assert.equal((await store.load({ id: "y", path, expectedHash: hash!.toUpperCase() })).hash, hash);
  await assert.rejects(store.load({ id: "big", path: folder(7, { rank: 8 }) }), failsWith("adapter_failed"));
  assert.throws(() => store.begin("big"), failsWith("unknown_adapter"));
  store.register({ id: "gone", path: join(root, "nowhere") });
  assert.equal((await ready(store.begin("gone"))).error?.code, "adapter_failed");
});

test("unloading refuses new requests at once and waits for those in flight", async () => {
  const { store, inSlot, ready } = storeWith();
  await store.load({ id: "a", path: folder(1) });
  const ticket = await ready(store.begin("a"));
  const slots = store.acquire([ticket])!;
  let unloaded = false;
  const unloading = store.unload("a").then(() => {
    unloaded = true;
  });
  assert.throws(() => store.begin("a"), failsWith("unknown_adapter"));
  await turn();
  assert.equal(unloaded, false);
  assert.equal(inSlot[0]?.hash, ticket.hash, "rows in flight keep their slot");
  store.release(slots);
  store.end(ticket);
  await unloading;
  assert.equal(inSlot[0], undefined);
  assert.deepEqual(store.counts.host, { adapters: 0, bytes: 0, evicted: 0 });
});

test("adapters in use move to low slots, because a step reads up to the highest one", async () => {
  const { store, ready } = storeWith({ slots: 12, room: 20 });
  const tickets = [];
  for (let i = 0; i < 12; i++) {
    store.register({ id: `a${i}`, path: folder(200 + i) });
    tickets.push(await ready(store.begin(`a${i}`)));
  }
  const held = tickets.map((ticket) => store.acquire([ticket])!);
  assert.deepEqual(held.flat(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  for (const slots of held) store.release(slots);
  const [slot] = store.acquire([tickets[11]])!;
  assert.ok(slot < 5, `slot ${slot}`);
});
