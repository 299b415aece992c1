import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Composition, decodeComposition, encodeComposition } from "../../../operator/protocol/composition.ts";
import { createWorld } from "./world.ts";

const { registry, agents } = createWorld({ seed: 9 });
const { composition: full, bytes } = registry.agentVersion(agents[0].agent, agents[0].version)!;
const changed = (change: Partial<Composition>): Composition => ({ ...full, ...change });
const moved = (from: keyof Composition["split"], to: keyof Composition["split"]) => ({
  ...full.split,
  [from]: 0,
  [to]: full.split[to] + full.split[from],
});
const member = { id: 999, version: 1 };

describe("a composition", () => {
  it("fills the bounds in 249 bytes and goes there and back", () => {
    assert.equal(bytes.length, 105 + 16 * 4 + 8 * (full.dataNets.length + full.tools.length));
    assert.deepEqual(decodeComposition(bytes), full);
    assert.deepEqual(encodeComposition(full), bytes);
  });

  it("may lack every class but the publisher", () => {
    const bare = changed({
      split: { operator: 0, publisher: 1_000_000, adapters: 0, prompt: 0, context: 0, training: 0, tool: 0 },
      adapters: [],
      dataNets: [],
      tools: [],
      prompt: null,
    });
    assert.equal(encodeComposition(bare).length, 105);
    assert.deepEqual(decodeComposition(encodeComposition(bare)), bare);
  });

  const invalid: [string, Partial<Composition>][] = [
    ["whose split sums to one less", { split: { ...full.split, operator: full.split.operator - 1 } }],
    ["with five adapters", { adapters: [...full.adapters, { ...member, share: 0, scale: 0 }] }],
    ["with nine DataNets", { dataNets: [...full.dataNets, member] }],
    ["with five tools", { tools: [...full.tools, member] }],
    [
      "whose adapters' shares sum to one less",
      {
        adapters: full.adapters.map((adapter, i) => (i === 0 ? { ...adapter, share: adapter.share - 1 } : adapter)),
      },
    ],
    ["with a DataNet given in two versions", { dataNets: [full.dataNets[0], { ...full.dataNets[0], version: 7 }] }],
    ["with a version of prompt zero", { prompt: { id: 0, version: 1 }, split: moved("prompt", "publisher") }],
    ["that gives the adapters a share and has none", { adapters: [], split: moved("training", "publisher") }],
    ["that gives training a share and has no adapter", { adapters: [], split: moved("adapters", "publisher") }],
    ["that gives the prompt a share and has none", { prompt: null }],
    ["that gives context a share and has no DataNet", { dataNets: [] }],
    ["that gives tools a share and has none", { tools: [] }],
    ["that gives an empty pool to class 4", { emptyTool: 4 as never }],
    ["with measure 2 of context", { contextMeasure: 2 as never }],
    ["with measure 2 of training", { trainingMeasure: 2 as never }],
  ];
  for (const [name, change] of invalid) {
    it(`is refused ${name}`, () => {
      assert.throws(() => encodeComposition(changed(change)), { name: "InvalidComposition" });
    });
  }

  it("is refused in bytes by the same rules", () => {
    const twice = bytes.slice();
    twice.copyWithin(177, 169, 173);
    assert.throws(() => decodeComposition(twice), { name: "InvalidComposition" });
    const promptless = bytes.slice().fill(0, 97, 101);
    assert.throws(() => decodeComposition(promptless), { name: "InvalidComposition" });
  });

  it("is refused in another format, cut, lengthened or above 2,048 bytes", () => {
    for (const wrong of [
      bytes.slice().fill(2, 0, 1),
      bytes.slice(0, -1),
      Uint8Array.from([...bytes, 0]),
      new Uint8Array(2_049).fill(1),
      new Uint8Array(),
    ]) {
      assert.throws(() => decodeComposition(wrong), { name: "MalformedBytes" });
    }
  });
});
