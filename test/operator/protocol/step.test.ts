import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { appendReceipt, openBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { registryLag } from "../../../operator/protocol/bounds.ts";
import { encodeReceipt, type Receipt } from "../../../operator/protocol/receipt.ts";
import { treeSet } from "../../../operator/protocol/sparse-tree.ts";
import { type State, stateRoot, summarise } from "../../../operator/protocol/state.ts";
import { applyReceipt } from "../../../operator/protocol/step.ts";
import { VERDICT, verdictName } from "../../../operator/protocol/verdict.ts";
import { openStory, randomReceipt, resigned, tellBatch } from "./jobs.ts";
import { contextOf, createWorld } from "./world.ts";

const story = openStory(createWorld({ seed: 5 }));
const { receipts } = tellBatch(story, 12);
const { world, state } = story;
const fullAgent = world.agents[0];

const judge = (receipt: Receipt, before: State = state, context = contextOf(world)) =>
  verdictName(applyReceipt(before, encodeReceipt(receipt), context).verdict);
const honest = (): Receipt => randomReceipt(world, world.spareChannel, fullAgent);
const signed = (receipt: Receipt, change: Partial<Receipt["voucher"]>): Receipt => ({
  ...receipt,
  voucher: resigned(world, { ...receipt.voucher, ...change }),
});

describe("applying a receipt", () => {
  it("gives every byte string a verdict and never throws", () => {
    const bodies = receipts.map(encodeReceipt);
    const edit = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }), cut: fc.boolean() });
    const mutated = fc.tuple(fc.constantFrom(...bodies), fc.array(edit, { maxLength: 4 })).map(([body, edits]) => {
      let bytes = body.slice();
      for (const { at, byte, cut } of edits) {
        if (cut) bytes = bytes.slice(0, Math.max(1, at % (bytes.length + 1)));
        else bytes[at % bytes.length] = byte;
      }
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 1_100 })), (body) => {
        const { verdict, after } = applyReceipt(state, body, contextOf(world));
        assert.ok(verdict >= VERDICT.malformedBody && verdict <= VERDICT.overflow ? !after : verdict === 0 && after);
      }),
      { numRuns: 400 },
    );
  });

  it("does not change the state before", () => {
    const root = stateRoot(summarise(state));
    const { after } = applyReceipt(state, encodeReceipt(honest()), contextOf(world));
    assert.ok(after);
    assert.deepEqual(stateRoot(summarise(state)), root);
    assert.notDeepEqual(stateRoot(summarise(after)), root);
  });

  it("names the first rule broken when several are", () => {
    const receipt = honest();
    const wrongPrice = { ...receipt, price: receipt.price + 1n };
    assert.equal(judge(wrongPrice), "wrongPrice");
    const alsoExpired = signed(wrongPrice, { expiry: 0n });
    assert.equal(judge(alsoExpired), "voucherExpired");
    const alsoUnknown = signed(alsoExpired, { version: 99 });
    assert.equal(judge(alsoUnknown), "unknownAgentVersion");
    const alsoForged = { ...alsoUnknown, voucher: { ...alsoUnknown.voucher, nonce: 77n } };
    assert.equal(judge(alsoForged), "badSignature");
    const alsoForeign = { ...alsoForged, voucher: { ...alsoForged.voucher, channel: world.foreignChannel } };
    assert.equal(judge(alsoForeign), "unknownChannel");
  });

  it("asks for order in all pools before it asks for sums in any, and for sums before origins", () => {
    const entry = (id: number, ppm: number, via = 255) => ({ id, ppm, via });
    const base = honest();
    const foreign = { ...base, context: [entry(1, 1_000_000)] };
    assert.equal(judge(foreign), "attributionForeign");
    const short = { ...foreign, training: [entry(1, 1)] };
    assert.equal(judge(short), "attributionSum");
    const unsorted = { ...short, tool: [entry(2, 1), entry(1, 999_999)] };
    assert.equal(judge(unsorted), "attributionUnsorted");
  });

  it("takes vouchers exactly up to the bounds of their times", () => {
    const { voucherLife, posting } = world.windows;
    const receipt = honest();
    const at = (expiry: number) => judge(signed(receipt, { expiry: BigInt(expiry) }));
    assert.equal(at(world.now + voucherLife), "valid");
    assert.equal(at(world.now + voucherLife + 1), "voucherTooLong");
    assert.equal(at(world.now - posting), "valid");
    assert.equal(at(world.now - posting - 1), "voucherExpired");
  });

  it("charges exactly up to the cap and the deposit", () => {
    const receipt = honest();
    assert.equal(judge(signed(receipt, { cap: receipt.price })), "valid");
    assert.equal(judge(signed(receipt, { cap: receipt.price - 1n })), "capExceeded");
    const registry = Object.assign(Object.create(world.registry), {
      channel: (id: number) => ({ ...world.registry.channel(id)!, deposit: receipt.price - 1n }),
    });
    assert.equal(judge(receipt, state, { ...contextOf(world), registry }), "depositExceeded");
  });

  it("does not charge what may be withdrawn before the batch can be collected", () => {
    const receipt = honest();
    const { settling } = world.windows;
    const at = (thawReadyAt: number, left: bigint) => {
      const channel = (id: number) => {
        const held = world.registry.channel(id)!;
        return { ...held, thawing: held.deposit - left, thawReadyAt };
      };
      const registry = Object.assign(Object.create(world.registry), { channel });
      return judge(receipt, state, { ...contextOf(world), registry });
    };
    const end = world.now + settling;
    assert.equal(at(end, 0n), "valid");
    assert.equal(at(end - 1, 0n), "depositExceeded");
    assert.equal(at(1, receipt.price), "valid");
    assert.equal(at(1, receipt.price - 1n), "depositExceeded");
    assert.equal(at(0, 0n), "valid");
  });

  it("keeps a contribution that was withdrawn between serving and posting, up to the lag", () => {
    const { corners, registry, registryTime, windows } = world;
    const context = [{ id: corners.withdrawnLately, ppm: 1_000_000, via: 0 }];
    const receipt = { ...honest(), context };
    assert.equal(judge(receipt), "valid");
    const { withdrawnAt } = registry.contribution(corners.withdrawnLately)!;
    assert.ok(withdrawnAt > 0 && withdrawnAt < registryTime);
    const latest = withdrawnAt + registryLag(windows);
    assert.equal(judge(receipt, state, { ...contextOf(world), registryTime: latest }), "valid");
    assert.equal(judge(receipt, state, { ...contextOf(world), registryTime: latest + 1 }), "attributionNotAccepted");
  });

  it("refuses sums of 2^128 wherever they would stand", () => {
    const receipt = honest();
    const full = 2n ** 128n - 1n;
    const cases: Partial<State>[] = [
      { totalSpent: full },
      { treasuryEarned: full },
      { operatorEarned: full },
      { earners: treeSet(state.earners, [[fullAgent.agent, full]]) },
    ];
    for (const change of cases) assert.equal(judge(receipt, { ...state, ...change }), "overflow");
    assert.equal(judge(receipt, { ...state, totalSpent: full - receipt.price }), "valid");
    assert.equal(judge(receipt, { ...state, totalSpent: full - receipt.price + 1n }), "overflow");
  });

  it("does not honour a voucher at another operator, chain or contract", () => {
    const receipt = honest();
    assert.equal(judge(receipt, state, { ...contextOf(world), operator: 2 }), "unknownChannel");
    const separator = createWorld({ seed: 5, chainId: 1n }).separator;
    assert.equal(judge(receipt, state, { ...contextOf(world), separator }), "badSignature");
  });

  it("asks the recovery it is given, once", () => {
    const receipt = honest();
    let calls = 0;
    const recover = () => {
      calls++;
      return world.registry.channel(world.spareChannel)!.sessionKey;
    };
    const unsigned = { ...receipt, voucher: { ...receipt.voucher, signature: new Uint8Array(65) } };
    assert.equal(judge(unsigned, state, { ...contextOf(world), recover }), "valid");
    assert.equal(calls, 1);
    assert.equal(judge(unsigned), "badSignature");
  });
});

describe("building a batch", () => {
  it("stays as it was when a receipt is refused", () => {
    const open = openBatch(state, contextOf(world));
    const step = appendReceipt(open, { ...honest(), price: 1n });
    assert.equal(verdictName(step.verdict), "wrongPrice");
    assert.equal(open.receipts.length, 0);
    assert.equal(open.state, state);
    assert.throws(() => sealBatch(open, null, 1n), { name: "ProtocolError" });
  });

  it("charges a job once, however often it is sent", () => {
    const open = openBatch(state, contextOf(world));
    const receipt = honest();
    assert.equal(verdictName(appendReceipt(open, receipt).verdict), "valid");
    assert.equal(verdictName(appendReceipt(open, receipt).verdict), "nonceUsed");
  });
});
