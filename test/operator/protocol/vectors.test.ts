import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { buildBatchTree, chunkLevels, rootFromSiblings } from "../../../operator/protocol/batch-tree.ts";
import { fromHex, ZERO_HASH } from "../../../operator/protocol/bytes.ts";
import { compositionHash, decodeComposition, encodeComposition } from "../../../operator/protocol/composition.ts";
import { headerHash } from "../../../operator/protocol/header.ts";
import { nonceIsFree, useNonce } from "../../../operator/protocol/nonce-window.ts";
import { priceOf } from "../../../operator/protocol/price.ts";
import { decodeReceipt, encodeReceipt, receiptLeaf } from "../../../operator/protocol/receipt.ts";
import { judgeReceipt } from "../../../operator/protocol/replay.ts";
import { addressOf, recoverSigner, signDigest } from "../../../operator/protocol/signature.ts";
import { rootFromMultiproof, treeSet } from "../../../operator/protocol/sparse-tree.ts";
import { splitPrice } from "../../../operator/protocol/split.ts";
import {
  channelLeaf,
  earnerLeaf,
  emptyState,
  type State,
  stateRoot,
  UNUSED_CHANNEL,
} from "../../../operator/protocol/state.ts";
import type { StepContext } from "../../../operator/protocol/step.ts";
import { nodeHash } from "../../../operator/protocol/tree-node.ts";
import { verdictName } from "../../../operator/protocol/verdict.ts";
import { domainSeparator, voucherDigest } from "../../../operator/protocol/voucher.ts";
import { buildVectors, plain, type Vector, vectorsText } from "../../vectors/generate.ts";
import { MemoryRegistry } from "./memory-registry.ts";

const text = readFileSync(new URL("../../vectors/protocol.json", import.meta.url), "utf8");
const vectors: Vector[] = JSON.parse(text);

/** A vector's input with bytes and large integers as the code has them: what is decimal text becomes a bigint. */
// biome-ignore lint/suspicious/noExplicitAny: the shapes are those of the file, each known to its own check
function revived(value: unknown): any {
  if (typeof value === "string")
    return value.startsWith("0x") ? fromHex(value) : /^\d+$/.test(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revived(inner)]));
}

const orNull = <T>(read: () => T): T | null => {
  try {
    return read();
  } catch {
    return null;
  }
};

const registryVector = vectors.find(({ kind }) => kind === "registry")!;

function judgingContext(): StepContext {
  const facts = revived(registryVector.input);
  const registry = new MemoryRegistry(facts.protocolShare);
  const raw = registryVector.input.actions as { sessionKey?: string }[];
  facts.actions.forEach((action: object, i: number) => {
    registry.perform({ ...action, sessionKey: raw[i].sessionKey } as never);
  });
  const separator = domainSeparator({
    chainId: facts.chainId,
    verifyingContract: registryVector.input.verifyingContract as `0x${string}`,
  });
  const { operator, registryTime, submittedAt, windows } = facts;
  return { operator, registryTime, submittedAt, windows: { ...windows, settling: 0 }, separator, registry };
}

// biome-ignore lint/suspicious/noExplicitAny: see above
const checks: Record<string, (input: any, vector: Vector) => unknown> = {
  node: ({ left, right }) => nodeHash(left, right),
  earnerLeaf: ({ id, earned }) => earnerLeaf(id, earned),
  channelLeaf: ({ channel, ...record }) => channelLeaf(channel, record),
  receiptLeaf: ({ index, ...commitment }) => receiptLeaf(index, commitment),
  stateRoot: (state) => stateRoot(state),
  headerHash: (header) => headerHash(header),
  voucher: ({ chainId, voucher, privateKey }, vector) => {
    const verifyingContract = vector.input.verifyingContract as `0x${string}`;
    const digest = voucherDigest(domainSeparator({ chainId, verifyingContract }), voucher);
    const signature = signDigest(digest, privateKey);
    assert.equal(recoverSigner(digest, signature), addressOf(privateKey));
    return { digest, signature, signer: addressOf(privateKey) };
  },
  signature: ({ digest, signature }, vector) => recoverSigner(digest, signature) === vector.input.signer,
  nonceWindow: ({ top, bitmap, nonce }) => {
    const fresh = nonceIsFree({ top, bitmap }, nonce);
    return { fresh, ...(fresh ? useNonce({ top, bitmap }, nonce) : { top, bitmap }) };
  },
  multiproof: ({ ids, before, after, siblings, bitmap }) => ({
    before: rootFromMultiproof(ids, before, { siblings, bitmap }),
    after: rootFromMultiproof(ids, after, { siblings, bitmap }),
  }),
  receiptProof: ({ leaf, index, path }) => rootFromSiblings(leaf, index, path),
  chunkProof: ({ leaves, chunk, count, path }) => {
    const width = 2 ** chunkLevels(count);
    const padded = [...leaves, ...Array(width - leaves.length).fill(ZERO_HASH)];
    return rootFromSiblings(buildBatchTree(padded).root, chunk, path);
  },
  composition: ({ bytes }) => {
    const decoded = orNull(() => decodeComposition(bytes));
    if (decoded) assert.deepEqual(encodeComposition(decoded), bytes);
    return { hash: compositionHash(bytes), valid: decoded !== null, decoded };
  },
  receipt: ({ body }) => {
    const decoded = orNull(() => decodeReceipt(body));
    if (decoded) assert.deepEqual(encodeReceipt(decoded), body);
    return { valid: decoded !== null, decoded };
  },
  price: ({ composition, body }) => {
    const receipt = decodeReceipt(body);
    return priceOf(decodeComposition(composition), receipt, receipt.voucher.maxPrice);
  },
  split: ({ composition, body, share }) => {
    const receipt = decodeReceipt(body);
    return splitPrice(receipt.price, share, receipt.voucher.agent, decodeComposition(composition), receipt);
  },
  registry: () => null,
  verdict: ({ state, receipt, finalRoot }) => {
    const { earners, channels, ...totals } = state;
    const before: State = {
      earners: treeSet(
        emptyState().earners,
        earners.map(({ id, earned }: { id: number; earned: bigint }) => [id, earned] as const),
      ),
      channels: treeSet(
        emptyState().channels,
        channels.map(
          ({ channel, ...record }: { channel: number }) => [channel, { ...UNUSED_CHANNEL, ...record }] as const,
        ),
      ),
      ...totals,
    };
    return verdictName(judgeReceipt(before, receipt, finalRoot, judgingContext()).verdict);
  },
};

describe("the shared vectors", () => {
  it("are at least 200 and of every kind", () => {
    assert.ok(vectors.length >= 200);
    assert.deepEqual(new Set(vectors.map(({ kind }) => kind)), new Set(Object.keys(checks)));
  });

  for (const [kind, check] of Object.entries(checks)) {
    it(`hold for ${kind}`, () => {
      for (const vector of vectors.filter((one) => one.kind === kind)) {
        assert.deepEqual(plain(check(revived(vector.input), vector)), vector.output, JSON.stringify(vector.input));
      }
    });
  }

  it("are what their generator writes", () => {
    assert.ok(
      vectorsText(buildVectors()) === text,
      "test/vectors/protocol.json is stale: node test/vectors/generate.ts",
    );
  });
});
