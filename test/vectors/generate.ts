// Writes protocol.json, the bytes on which TypeScript and Solidity agree. Run: node test/vectors/generate.ts
import { writeFileSync } from "node:fs";
import { receiptLeaves } from "../../operator/protocol/batch.ts";
import { buildBatchTree, chunkCount, proveChunk, proveReceipt } from "../../operator/protocol/batch-tree.ts";
import { type Hex, toHex, ZERO_HASH } from "../../operator/protocol/bytes.ts";
import { compositionHash, encodeComposition } from "../../operator/protocol/composition.ts";
import { headerWitness } from "../../operator/protocol/fraud-proof.ts";
import { type BatchHeader, headerHash } from "../../operator/protocol/header.ts";
import { nonceIsFree, useNonce } from "../../operator/protocol/nonce-window.ts";
import { priceOf } from "../../operator/protocol/price.ts";
import { encodeReceipt, receiptLeaf } from "../../operator/protocol/receipt.ts";
import { replayBatch } from "../../operator/protocol/replay.ts";
import { addressOf, recoverSigner, signDigest } from "../../operator/protocol/signature.ts";
import { treeEntries, treeProve, treeRoot, treeSet } from "../../operator/protocol/sparse-tree.ts";
import { splitPrice } from "../../operator/protocol/split.ts";
import {
  channelLeaf,
  earnerLeaf,
  emptyState,
  type State,
  stateRoot,
  summarise,
} from "../../operator/protocol/state.ts";
import { nodeHash } from "../../operator/protocol/tree-node.ts";
import { verdictName } from "../../operator/protocol/verdict.ts";
import { domainSeparator, type Voucher, voucherDigest } from "../../operator/protocol/voucher.ts";
import { type Dice, diceOf } from "../operator/protocol/dice.ts";
import { openStory, randomReceipt, tellBatch } from "../operator/protocol/jobs.ts";
import { tellLie } from "../operator/protocol/liar.ts";
import { LIES } from "../operator/protocol/lies.ts";
import { contextOf, createWorld } from "../operator/protocol/world.ts";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** What is computed from what. Bytes are hexadecimal, integers above 2^53 decimal strings. */
export interface Vector {
  kind: string;
  input: { [key: string]: Json };
  output: Json;
}

const U64 = 2n ** 64n - 1n;
const U128 = 2n ** 128n - 1n;

/** All vectors, the same at every call. */
export function buildVectors(): Vector[] {
  const vectors: Vector[] = [];
  const add = (kind: string, input: object, output: unknown) => {
    vectors.push({ kind, input: plain(input) as Vector["input"], output: plain(output) });
  };
  const dice = diceOf(2_026);
  hashVectors(dice, add);
  voucherVectors(dice, add);
  windowVectors(dice, add);
  multiproofVectors(dice, add);
  batchTreeVectors(dice, add);
  agentVectors(add);
  verdictVectors(add);
  return vectors;
}

type Add = (kind: string, input: object, output: unknown) => void;

function hashVectors(dice: Dice, add: Add): void {
  const hashes = [ZERO_HASH, dice.bytes(32), dice.bytes(32)];
  for (const left of hashes) for (const right of hashes) add("node", { left, right }, nodeHash(left, right));

  const amounts = [0n, 1n, 10n ** 18n, U128, dice.bigBelow(U128), dice.bigBelow(U64)];
  for (const earned of amounts) {
    for (const id of [1, 0xffff_ffff, dice.below(2 ** 32)]) add("earnerLeaf", { id, earned }, earnerLeaf(id, earned));
  }
  const records = [
    { spent: 0n, capSeen: 0n, top: 0n, bitmap: 0n },
    { spent: 1n, capSeen: 0n, top: 0n, bitmap: 0n },
    { spent: 0n, capSeen: 1n, top: 0n, bitmap: 0n },
    { spent: 0n, capSeen: 0n, top: 1n, bitmap: 0n },
    { spent: 0n, capSeen: 0n, top: 0n, bitmap: 1n },
    { spent: U128, capSeen: U128, top: U64, bitmap: 2n ** 256n - 1n },
    ...Array.from({ length: 6 }, () => ({
      spent: dice.bigBelow(U128),
      capSeen: dice.bigBelow(U128),
      top: dice.bigBelow(U64),
      bitmap: dice.bigBelow(2n ** 256n),
    })),
  ];
  for (const record of records) {
    const channel = dice.below(2 ** 32);
    add("channelLeaf", { channel, ...record }, channelLeaf(channel, record));
  }
  for (let i = 0; i < 10; i++) {
    const index = i === 0 ? 0 : dice.below(16_384);
    const commitment = {
      length: i === 1 ? 65_535 : dice.below(1_025),
      stateRoot: dice.bytes(32),
      bodyHash: dice.bytes(32),
    };
    add("receiptLeaf", { index, ...commitment }, receiptLeaf(index, commitment));
  }
  for (let i = 0; i < 10; i++) {
    const state = {
      earnersRoot: i === 0 ? ZERO_HASH : dice.bytes(32),
      channelsRoot: i === 0 ? ZERO_HASH : dice.bytes(32),
      totalSpent: i === 0 ? 0n : dice.bigBelow(U128),
      treasuryEarned: i === 0 ? 0n : dice.bigBelow(U128),
      operatorEarned: i === 0 ? 0n : dice.bigBelow(U128),
    };
    add("stateRoot", state, stateRoot(state));
    const header: BatchHeader = {
      operator: dice.below(2 ** 32),
      sequence: dice.bigBelow(U64),
      height: dice.bigBelow(U64),
      parentHash: dice.bytes(32),
      registryTime: dice.below(2 ** 40),
      count: dice.between(1, 16_384),
      receiptsRoot: dice.bytes(32),
      dataHash: dice.bytes(32),
      state,
    };
    add("headerHash", headerWitness(header), headerHash(header));
  }
}

function voucherVectors(dice: Dice, add: Add): void {
  for (let i = 0; i < 20; i++) {
    const extreme = i === 0;
    const voucher: Voucher = {
      channel: extreme ? 0xffff_ffff : dice.below(2 ** 32),
      nonce: extreme ? U64 : dice.bigBelow(U64),
      agent: extreme ? 0xffff_ffff : dice.below(2 ** 32),
      version: extreme ? 0xffff_ffff : dice.below(2 ** 32),
      requestHash: dice.bytes(32),
      maxPrice: extreme ? U128 : dice.bigBelow(U128),
      cap: extreme ? U128 : dice.bigBelow(U128),
      expiry: extreme ? U64 : dice.bigBelow(U64),
    };
    const chainId = dice.pick([1n, 31_337n, 1_612n, 161_201n]);
    const verifyingContract = toHex(dice.bytes(20));
    const digest = voucherDigest(domainSeparator({ chainId, verifyingContract }), voucher);
    const key = dice.bytes(32);
    const signature = signDigest(digest, key);
    add(
      "voucher",
      { chainId, verifyingContract, voucher, privateKey: key },
      { digest, signature, signer: addressOf(key) },
    );
    if (i >= 6) continue;
    const spoiled = signature.slice();
    if (i === 0) spoiled[64] = 29;
    if (i === 1) spoiled[64] -= 27;
    if (i === 2) spoiled.fill(0, 0, 32);
    if (i === 3) spoiled.fill(0, 32, 64);
    if (i === 4) spoiled.fill(255, 0, 32);
    if (i === 5) spoiled.fill(127, 32, 64);
    const signer = recoverSigner(digest, spoiled) ?? null;
    add("signature", { digest, signature: spoiled, signer: addressOf(key) }, signer === addressOf(key));
  }
}

function windowVectors(dice: Dice, add: Add): void {
  const use = (top: bigint, bitmap: bigint, nonce: bigint) => {
    const window = { top, bitmap };
    const fresh = nonceIsFree(window, nonce);
    add("nonceWindow", { top, bitmap, nonce }, { fresh, ...(fresh ? useNonce(window, nonce) : window) });
  };
  use(0n, 0n, 0n);
  use(0n, 1n, 0n);
  use(0n, 0n, 1n);
  use(0n, 0n, U64);
  use(U64, 1n, U64);
  use(U64, 1n, U64 - 255n);
  use(U64, 1n, U64 - 256n);
  use(300n, 1n, 44n);
  use(300n, 1n, 45n);
  use(300n, 1n << 255n, 45n);
  use(300n, 1n, 555n);
  use(300n, 1n, 556n);
  use(300n, 3n, 555n);
  for (let i = 0; i < 17; i++) {
    const top = 1_000n + dice.bigBelow(1_000n);
    use(top, dice.bigBelow(2n ** 256n) | 1n, top - 300n + dice.bigBelow(600n));
  }
}

function multiproofVectors(dice: Dice, add: Add): void {
  for (let i = 0; i < 24; i++) {
    const size = dice.pick([0, 1, 2, 30, 300]);
    const id = () => (dice.chance(0.9) ? dice.between(1, 400) : dice.below(2 ** 32));
    const ascending = (count: number) => [...new Set(Array.from({ length: count }, id))].sort((a, b) => a - b);
    const tree = treeSet(
      emptyState().earners,
      ascending(size).map((index) => [index, 1n + dice.bigBelow(U64)] as const),
    );
    const ids = i === 0 ? [0, 0xffff_ffff] : ascending(dice.between(1, 16));
    const entries = ids.map((index) => [index, dice.chance(0.1) ? 0n : dice.bigBelow(U64)] as const);
    const held = new Map(treeEntries(tree));
    const after = treeSet(tree, entries);
    const { siblings, bitmap } = treeProve(tree, ids);
    add(
      "multiproof",
      {
        ids,
        before: ids.map((index) => earnerLeaf(index, held.get(index) ?? 0n)),
        after: entries.map(([index, earned]) => earnerLeaf(index, earned)),
        siblings,
        bitmap,
      },
      { before: treeRoot(tree), after: treeRoot(after) },
    );
  }
}

function batchTreeVectors(dice: Dice, add: Add): void {
  for (const count of [1, 2, 3, 5, 31, 32, 33, 64, 100]) {
    const receipts = Array.from({ length: count }, () => {
      const body = dice.bytes(dice.between(1, 8));
      return { length: body.length, stateRoot: dice.bytes(32), body };
    });
    const leaves = receiptLeaves(receipts);
    const tree = buildBatchTree(leaves);
    for (const index of new Set([0, dice.below(count), count - 1])) {
      add("receiptProof", { leaf: leaves[index], index, count, path: proveReceipt(tree, index) }, tree.root);
    }
    const chunk = chunkCount(count) - 1;
    add("chunkProof", { leaves: leaves.slice(chunk * 32), chunk, count, path: proveChunk(tree, chunk) }, tree.root);
  }
}

function agentVectors(add: Add): void {
  for (let seed = 100; seed < 105; seed++) {
    const world = createWorld({ seed });
    const { dice } = world;
    for (const pinned of world.agents) {
      const { bytes, composition } = world.registry.agentVersion(pinned.agent, pinned.version)!;
      add("composition", { bytes }, { hash: compositionHash(bytes), valid: true, decoded: composition });
      const spoiled = bytes.slice();
      const at = dice.pick([0, 64, 68, 88, 89, 91, 92, 93, 94, 95, 96, bytes.length - 1]);
      const mutilated = at === bytes.length - 1 ? spoiled.slice(0, at) : spoiled;
      if (mutilated === spoiled) spoiled[at] ^= at >= 89 && at <= 91 ? 4 : at === 92 || at === 93 ? 2 : 1;
      add("composition", { bytes: mutilated }, { hash: compositionHash(mutilated), valid: false, decoded: null });

      const receipt = randomReceipt(world, world.channels[0], pinned);
      const body = encodeReceipt(receipt);
      add("receipt", { body }, { valid: true, decoded: receipt });
      add("price", { composition: bytes, body }, priceOf(composition, receipt, receipt.voucher.maxPrice));
      const amounts = [receipt.price, 1n, BigInt(dice.below(1_000)), 2n ** 96n - 1n, dice.bigBelow(2n ** 96n)];
      const price = dice.pick(amounts);
      const share = dice.pick([0, 1, 20_000, 50_000]);
      add(
        "split",
        { composition: bytes, body: encodeReceipt({ ...receipt, price }), share },
        splitPrice(price, share, pinned.agent, composition, receipt),
      );
    }
    const receipt = encodeReceipt(randomReceipt(world, world.channels[0], world.agents[0]));
    const spoil = (change: (body: Uint8Array) => Uint8Array) => {
      add("receipt", { body: change(receipt.slice()) }, { valid: false, decoded: null });
    };
    spoil((body) => body.slice(0, dice.below(body.length)));
    spoil((body) => Uint8Array.from([...body, 1]));
    spoil((body) => body.fill(2, 0, 1));
    spoil((body) => body.fill(13, 242, 243));
    spoil((body) => body.fill(5, 244, 245));
  }
  // Every class without a member, once with a share: the rule that a byte flipped at random seldom meets.
  const { registry, agents } = createWorld({ seed: 106 });
  const { composition } = registry.agentVersion(agents[0].agent, agents[0].version)!;
  for (const without of ["adapters", "dataNets", "tools"] as const) {
    const all = encodeComposition(composition);
    const counts = { adapters: [94, 16, 105], dataNets: [95, 8, 169], tools: [96, 8, 233] } as const;
    const [at, size, from] = counts[without];
    const bytes = Uint8Array.from([...all.slice(0, from), ...all.slice(from + size * all[at])]);
    bytes[at] = 0;
    add("composition", { bytes }, { hash: compositionHash(bytes), valid: false, decoded: null });
  }
}

/** One of each kind of lie, and honest receipts, each judged on the state before it. */
function verdictVectors(add: Add): void {
  const story = openStory(createWorld({ seed: 11 }));
  const { batch, before } = tellBatch(story, 3);
  const { world } = story;
  const context = contextOf(world);
  add(
    "registry",
    {
      ...world.domain,
      operator: world.operator,
      registryTime: world.registryTime,
      submittedAt: world.now,
      windows: { voucherLife: world.windows.voucherLife, posting: world.windows.posting },
      protocolShare: world.registry.protocolShare,
      actions: world.actions,
    },
    null,
  );
  const judged = (told: { index: number; batch: typeof batch }, state: State, verdict: string, name: string) => {
    const { header, receipts } = told.batch;
    const isLast = told.index === header.count - 1;
    const finalRoot = isLast ? stateRoot(header.state) : null;
    add("verdict", { name, state: described(state), receipt: receipts[told.index], finalRoot }, verdict);
  };
  judged({ index: 0, batch }, before, "valid", "an honest receipt");
  for (const lie of LIES) {
    const told = tellLie(story, lie, { before: 1, after: 1 });
    const { wrong } = replayBatch(told.before, told.batch, context);
    judged(told, wrong!.before, verdictName(lie.verdict), lie.name);
  }
}

function described(state: State) {
  const channels = Array.from(treeEntries(state.channels), ([channel, { voucher, ...record }]) => ({
    channel,
    ...record,
  }));
  const earners = Array.from(treeEntries(state.earners), ([id, earned]) => ({ id, earned }));
  const { totalSpent, treasuryEarned, operatorEarned } = summarise(state);
  return { earners, channels, totalSpent, treasuryEarned, operatorEarned };
}

/** Plain JSON: bytes as hexadecimal, large integers as decimal text. */
export function plain(value: unknown): Json {
  if (value instanceof Uint8Array) return toHex(value) as Hex;
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value as Json;
}

/** The file's text: one vector a line, so that a change shows as what it is. */
export function vectorsText(vectors: readonly Vector[]): string {
  return `[\n${vectors.map((vector) => JSON.stringify(vector)).join(",\n")}\n]\n`;
}

if (import.meta.main) {
  const vectors = buildVectors();
  writeFileSync(new URL("protocol.json", import.meta.url), vectorsText(vectors));
  console.log(`${vectors.length} vectors`);
}
