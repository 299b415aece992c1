import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { decodeBatchData, encodeData } from "../../../operator/protocol/batch-data.ts";
import { openData, replayBatch } from "../../../operator/protocol/replay.ts";
import { restoreState, unbackedChannels } from "../../../operator/protocol/snapshot.ts";
import { emptyState, summarise } from "../../../operator/protocol/state.ts";
import { openStory, type Story, type ToldBatch, tellBatch } from "./jobs.ts";
import { contextOf, createWorld } from "./world.ts";

/** Batches of one receipt up to the height of the first snapshot, and two beyond. */
function longStory(): { story: Story; batches: ToldBatch[] } {
  const story = openStory(createWorld({ seed: 64 }));
  const batches = Array.from({ length: 66 }, () => tellBatch(story, 1));
  return { story, batches };
}

const { story, batches } = longStory();
const [snapshotBatch, ...later] = batches.slice(63);

describe("published data", () => {
  it("have a snapshot at every 64th height and at no other", () => {
    batches.forEach(({ batch }, i) => {
      assert.equal(decodeBatchData(batch.data).snapshot !== null, i + 1 === 64);
    });
  });

  it("restore the state from a snapshot and the batches after it", () => {
    const { header, data } = snapshotBatch.batch;
    const { snapshot } = decodeBatchData(data);
    let state = restoreState(snapshot!, header.state)!;
    assert.deepEqual(summarise(state), header.state);
    for (const { batch } of later) {
      const { after } = replayBatch(state, openData(batch.header, batch.data)!, contextOf(story.world));
      state = after!;
    }
    assert.deepEqual(state, story.state);
  });

  it("restore the state from the first batch on as well", () => {
    let state = emptyState();
    for (const { batch } of batches)
      state = replayBatch(state, openData(batch.header, batch.data)!, contextOf(story.world)).after!;
    assert.deepEqual(state, story.state);
  });

  it("do not restore a state that the header does not commit to", () => {
    const { header, data } = snapshotBatch.batch;
    const { snapshot } = decodeBatchData(data);
    const [[id, earned], ...rest] = snapshot!.earners;
    assert.equal(restoreState({ ...snapshot!, earners: [[id, earned + 1n], ...rest] }, header.state), undefined);
    assert.equal(restoreState({ ...snapshot!, channels: snapshot!.channels.slice(1) }, header.state), undefined);
  });

  it("have a voucher that backs each channel of a snapshot, and a false one is noticed", () => {
    const { snapshot } = decodeBatchData(snapshotBatch.batch.data);
    const { separator, registry } = story.world;
    assert.deepEqual(unbackedChannels(snapshot!, separator, registry), []);
    const [[channel, record], ...others] = snapshot!.channels;
    const voucher = { ...record.voucher, cap: record.voucher.cap + 1n };
    const forged = { ...snapshot!, channels: [[channel, { ...record, voucher }] as const, ...others] };
    assert.deepEqual(unbackedChannels(forged, separator, registry), [channel]);
  });

  it("are not opened for another header", () => {
    const [{ batch: first }, { batch: second }] = batches;
    assert.equal(openData(first.header, second.data), undefined);
    assert.equal(openData({ ...first.header, count: 2 }, first.data), undefined);
    assert.equal(openData({ ...first.header, receiptsRoot: second.header.receiptsRoot }, first.data), undefined);
    assert.equal(openData({ ...first.header, height: 2n }, first.data), undefined);
  });

  it("go there and back, lies about leaves included", () => {
    const body = Uint8Array.of(1, 2, 3);
    const stateRoot = new Uint8Array(32).fill(9);
    const data = {
      height: 5n,
      receipts: [null, { length: 3, stateRoot, body }, { length: 9, stateRoot, body }],
      snapshot: null,
    };
    assert.deepEqual(decodeBatchData(encodeData(data)), data);
  });

  const samples = [batches[0].batch.data, snapshotBatch.batch.data];
  it("are refused, or have one form only, when any byte changes, goes or is added", () => {
    let refused = 0;
    const sample = fc.constantFrom(...samples);
    const change = fc.record({
      kind: fc.constantFrom("flip", "cut", "insert", "append"),
      at: fc.nat(),
      byte: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(sample, fc.array(change, { minLength: 1, maxLength: 3 }), (original, changes) => {
        let bytes = original;
        for (const { kind, at, byte } of changes) {
          // Half of the changes fall on the first bytes, where the counts stand.
          const place = (at % 2 === 0 ? at % 60 : at) % bytes.length;
          if (kind === "flip") bytes = Uint8Array.from(bytes, (old, i) => (i === place ? old ^ byte : old));
          if (kind === "cut") bytes = bytes.slice(0, place);
          if (kind === "insert") bytes = Uint8Array.from([...bytes.slice(0, place), byte, ...bytes.slice(place)]);
          if (kind === "append") bytes = Uint8Array.from([...bytes, byte]);
          if (bytes.length === 0) break;
        }
        try {
          assert.deepEqual(encodeData(decodeBatchData(bytes)), bytes);
        } catch (error) {
          assert.equal((error as Error).name, "MalformedBytes", `${error}`);
          refused++;
        }
      }),
      { numRuns: 600 },
    );
    assert.ok(refused > 100);
  });

  it("are refused when a receipt claims the length that it has", () => {
    const receipts = [{ length: 1, stateRoot: new Uint8Array(32), body: Uint8Array.of(7) }];
    const bytes = Array.from(encodeData({ height: 1n, receipts, snapshot: null }));
    // Kind, length and state root, then the claim.
    const claiming = Uint8Array.from([...bytes.slice(0, 17), 2, ...bytes.slice(18, 52), 0, 1, ...bytes.slice(52)]);
    assert.throws(() => decodeBatchData(claiming), { name: "MalformedBytes" });
    claiming[53] = 2;
    assert.equal(decodeBatchData(claiming).receipts[0]?.length, 2);
  });

  it("are refused when a snapshot is out of order or holds what a tree would not", () => {
    const data = decodeBatchData(snapshotBatch.batch.data);
    const { earners, channels } = data.snapshot!;
    const [first, second, ...rest] = earners;
    const [[channel, record]] = channels;
    for (const snapshot of [
      { earners: [second, first, ...rest], channels },
      { earners: [first, first, ...rest], channels },
      { earners: [[first[0], 0n] as const, second, ...rest], channels },
      { earners, channels: [channels[0], channels[0]] },
      { earners, channels: [[channel, { ...record, bitmap: record.bitmap - 1n }] as const] },
      { earners, channels: [[channel, { ...record, spent: record.capSeen + 1n }] as const] },
    ]) {
      assert.throws(() => decodeBatchData(encodeData({ ...data, snapshot })), { name: "MalformedBytes" });
    }
  });

  it("are refused when they are random bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        assert.throws(() => decodeBatchData(bytes), { name: "MalformedBytes" });
      }),
    );
  });

  it("are refused without allocating when a count promises more than there is", () => {
    const bytes = batches[0].batch.data.slice();
    bytes.set([0xff, 0xff, 0xff, 0xff], 13);
    assert.throws(() => decodeBatchData(bytes), { name: "MalformedBytes" });
  });
});
