import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";
import { network } from "hardhat";
import type { Vector } from "../vectors/generate.ts";

const vectors: Vector[] = JSON.parse(readFileSync(new URL("../vectors/protocol.json", import.meta.url), "utf8"));

const SPLIT = ["operator", "publisher", "adapters", "prompt", "context", "training", "tool"];

// biome-ignore lint/suspicious/noExplicitAny: the shapes are those of the file and of the harness, each known to its check
type Loose = any;

/** How the harness is asked for each kind, and what of the vector's output its answer must equal. */
const checks: Record<
  string,
  (read: Loose, input: Loose, output: Loose) => Promise<[actual: unknown, expected: unknown]>
> = {
  node: async (read, { left, right }, output) => [await read.node([left, right]), output],
  earnerLeaf: async (read, { id, earned }, output) => [await read.earnerLeaf([id, earned]), output],
  channelLeaf: async (read, { channel, ...record }, output) => [await read.channelLeaf([channel, record]), output],
  receiptLeaf: async (read, { index, length, stateRoot, bodyHash }, output) => [
    await read.receiptLeaf([index, length, stateRoot, bodyHash]),
    output,
  ],
  stateRoot: async (read, state, output) => [await read.stateRoot([state]), output],
  headerHash: async (read, header, output) => [await read.headerHash([header]), output],
  voucher: async (read, { chainId, verifyingContract, voucher }, output) => {
    const digest = await read.voucherDigest([chainId, verifyingContract, voucher]);
    const signed = await read.signedBy([digest, ...signatureParts(output.signature), output.signer]);
    return [
      { digest, signed },
      { digest: output.digest, signed: true },
    ];
  },
  signature: async (read, { digest, signature, signer }, output) => [
    await read.signedBy([digest, ...signatureParts(signature), signer]),
    output,
  ],
  nonceWindow: async (read, { top, bitmap, nonce }, output) => {
    const [fresh, newTop, newBitmap] = await read.useNonce([top, bitmap, nonce]);
    return [{ fresh, top: `${newTop}`, bitmap: `${newBitmap}` }, output];
  },
  multiproof: async (read, { ids, before, after, siblings, bitmap }, output) => {
    const [rootBefore, rootAfter] = await read.multiproofRoots([ids, before, after, siblings, bitmap]);
    assert.equal(await read.multiproofRoot([ids, before, siblings, bitmap]), rootBefore);
    return [{ before: rootBefore, after: rootAfter }, output];
  },
  receiptProof: async (read, { leaf, index, count, path }, output) => [
    await read.receiptsRoot([leaf, index, count, path]),
    output,
  ],
  chunkProof: async (read, { leaves, chunk, count, path }, output) => [
    await read.chunkRoot([leaves, chunk, count, path]),
    output,
  ],
  composition: async (read, { bytes }, { hash, valid, decoded }) => {
    assert.equal(await read.compositionHash([bytes]), hash);
    const [fault, composition] = await read.decodeComposition([bytes]);
    if (!valid) return [fault !== 0, true];
    return [
      { fault, composition: composedOf(composition) },
      { fault: 0, composition: decoded },
    ];
  },
  receipt: async (read, { body }, { valid, decoded }) => {
    const [ok, receipt] = await read.decodeReceipt([body]);
    return ok
      ? [
          { valid: ok, decoded: receiptOf(receipt) },
          { valid, decoded },
        ]
      : [ok, valid];
  },
  price: async (read, { composition, body }, output) => [`${await read.price([composition, body])}`, output],
  split: async (read, { composition, body, share }, output) => {
    const { treasury, operator, ids, amounts } = await read.credits([composition, body, share]);
    const credits = ids.map((id: number, i: number) => ({ id, amount: `${amounts[i]}` }));
    return [{ treasury: `${treasury}`, operator: `${operator}`, credits }, output];
  },
};

/** Kinds that whole batches on a chain check, in test/contracts/settlement/. */
const ELSEWHERE = new Set(["registry", "verdict"]);

describe("the shared vectors in Solidity", () => {
  let read: Loose;

  before(async () => {
    const { viem } = await network.connect();
    const harness: Loose = await viem.deployContract("ProtocolHarness" as never);
    read = harness.read;
  });

  it("have a check for every kind", () => {
    const kinds = new Set(vectors.map(({ kind }) => kind));
    assert.deepEqual(new Set([...Object.keys(checks), ...ELSEWHERE]), kinds);
  });

  for (const [kind, check] of Object.entries(checks)) {
    it(`hold for ${kind}`, async () => {
      for (const { input, output } of vectors.filter((one) => one.kind === kind)) {
        const [actual, expected] = await check(read, input, output);
        assert.deepEqual(actual, expected, JSON.stringify(input));
      }
    });
  }
});

function signatureParts(signature: string): [r: string, s: string, v: number] {
  return [`0x${signature.slice(2, 66)}`, `0x${signature.slice(66, 130)}`, Number.parseInt(signature.slice(130), 16)];
}

function composedOf(composition: Loose): Loose {
  const [emptyContext, emptyTraining, emptyTool] = composition.emptyTo;
  return {
    baseModel: composition.baseModel,
    pricePerJob: `${composition.perJob}`,
    pricePerPromptToken: `${composition.perPromptToken}`,
    pricePerCompletionToken: `${composition.perCompletionToken}`,
    split: Object.fromEntries(SPLIT.map((name, i) => [name, composition.split[i]])),
    emptyContext,
    emptyTraining,
    emptyTool,
    contextMeasure: composition.contextMeasure,
    trainingMeasure: composition.trainingMeasure,
    prompt: composition.prompt.id === 0 ? null : { ...composition.prompt },
    adapters: composition.adapters.map(({ id, version, sharePpm, scalePpm }: Loose) => ({
      id,
      version,
      share: sharePpm,
      scale: scalePpm,
    })),
    dataNets: composition.dataNets.map((member: Loose) => ({ ...member })),
    tools: composition.tools.map((member: Loose) => ({ ...member })),
  };
}

function receiptOf(receipt: Loose): Loose {
  const { voucher, r, s, v } = receipt;
  const entries = (pool: Loose[]) => pool.map((entry) => ({ ...entry }));
  return {
    voucher: {
      channel: voucher.channel,
      nonce: `${voucher.nonce}`,
      agent: voucher.agent,
      version: voucher.version,
      requestHash: voucher.requestHash,
      maxPrice: `${voucher.maxPrice}`,
      cap: `${voucher.cap}`,
      expiry: `${voucher.expiry}`,
      signature: `${r}${s.slice(2)}${v.toString(16).padStart(2, "0")}`,
    },
    responseHash: receipt.responseHash,
    traceHash: receipt.traceHash,
    promptTokens: receipt.promptTokens,
    completionTokens: receipt.completionTokens,
    price: `${receipt.price}`,
    context: entries(receipt.context),
    training: entries(receipt.training),
    tool: entries(receipt.tools),
  };
}
