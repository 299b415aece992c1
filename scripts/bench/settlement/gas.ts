import { type Address, encodeAbiParameters, encodePacked, type Hex, keccak256 } from "viem";
import { receiptLeaves, type SealedBatch } from "../../../operator/protocol/batch.ts";
import { buildBatchTree } from "../../../operator/protocol/batch-tree.ts";
import { settlingTime } from "../../../operator/protocol/bounds.ts";
import { claimWitness, collectWitness } from "../../../operator/protocol/claims.ts";
import { buildFraudProof, headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { headerHash } from "../../../operator/protocol/header.ts";
import type { RegistryView } from "../../../operator/protocol/registry-view.ts";
import { replayBatch } from "../../../operator/protocol/replay.ts";
import { treeEntries } from "../../../operator/protocol/sparse-tree.ts";
import type { StepContext } from "../../../operator/protocol/step.ts";
import { readChainView } from "../../stage/chain-view.ts";
import type { Stage } from "../../stage/stage.ts";
import { type Cast, CHANNELS, OPEN, openForService } from "./cast.ts";
import { type Books, buildBatch, openBooks, signJobs } from "./serve.ts";

/** Gas of one operator's cycle over `jobs` jobs. */
export interface CycleGas {
  submit: number;
  finalize: number;
  collect: number;
  claimOne: number;
  claim50: number;
}

async function contextOf(stage: Stage, operator: number, registry: RegistryView): Promise<StepContext> {
  const now = await stage.now();
  const windows = { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) };
  return { operator, registryTime: now, submittedAt: now, windows, separator: stage.separator, registry };
}

/** Submits the batch and, when its window has passed, finalises it. */
async function settle(stage: Stage, batch: SealedBatch) {
  const { settlement } = stage.contracts;
  const submit = await stage.gasOf(settlement.write.submitBatch([headerWitness(batch.header)]));
  await stage.wait(stage.parameters.windows.challenge + 1);
  const finalize = await stage.gasOf(settlement.write.finalize([batch.header.operator, batch.header.height]));
  return { submit: Number(submit), finalize: Number(finalize) };
}

/**
 * A whole cycle of a fresh operator's second batch. The first batch, of one job, is not counted: it writes the storage
 * that every later batch rewrites, except for the ring, whose slots are new until the 65th batch.
 */
export async function cycleGas(stage: Stage, cast: Cast, jobs: number): Promise<CycleGas> {
  const { settlement } = stage.contracts;
  const books = openBooks(await openForService(stage));
  const registry = await readChainView(stage);
  const { operator, firstChannel } = books.served;
  const context = await contextOf(stage, operator, registry);
  await settle(stage, buildBatch(books, context, signJobs(cast, books, context, CHANNELS, 6)));
  await collect(stage, books);
  const later = await contextOf(stage, operator, registry);
  const gas = await settle(stage, buildBatch(books, later, signJobs(cast, books, later, jobs, 6)));
  const served = new Set(Array.from({ length: Math.min(jobs, CHANNELS) }, (_, i) => firstChannel + i));
  const collected = await collect(stage, books, [...served]);

  // New to the claims' storage, as every payee is once; the second claim of each is cheaper.
  const earners = Array.from(treeEntries(books.state.earners), ([id]) => id);
  const claim = (ids: number[]) => {
    const witness = claimWitness(books.parent!, books.state, ids);
    return stage.gasOf(settlement.write.claim([{ ...witness, payees: ids.map(() => []) }]));
  };
  const claimOne = Number(await claim([earners[0]]));
  const fifty = earners.slice(1, 51);
  const claim50 = fifty.length === 50 ? Number(await claim(fifty)) / 50 : Number.NaN;
  return { ...gas, collect: collected, claimOne, claim50 };
}

async function collect(stage: Stage, books: Books, only?: number[]): Promise<number> {
  const { firstChannel } = books.served;
  const all = only ?? Array.from({ length: CHANNELS }, (_, i) => firstChannel + i);
  const { header, collections, siblings, bitmap } = collectWitness(books.parent!, books.state, all);
  return Number(await stage.gasOf(stage.contracts.channels.write.collect([header, collections, siblings, bitmap])));
}

/** Gas of submit and finalize when the ring's slots have been written before: the 66th batch of an operator. */
export async function warmRingGas(stage: Stage, cast: Cast): Promise<{ submit: number; finalize: number }> {
  const books = openBooks(await openForService(stage));
  const registry = await readChainView(stage);
  let gas = { submit: 0, finalize: 0 };
  for (let height = 1; height <= 66; height++) {
    const context = await contextOf(stage, books.served.operator, registry);
    gas = await settle(stage, buildBatch(books, context, signJobs(cast, books, context, 1, 6)));
  }
  return gas;
}

/**
 * Gas of the dearest proof: a state root that is wrong in the last receipt of a batch, so that every rule is asked and
 * every witness brought.
 */
export async function fraudGas(stage: Stage, cast: Cast, payees: number): Promise<number> {
  const books = openBooks(await openForService(stage));
  const registry = await readChainView(stage);
  const { operator } = books.served;
  const context = await contextOf(stage, operator, registry);
  await settle(stage, buildBatch(books, context, signJobs(cast, books, context, 400, 6)));
  const parent = books.parent;
  const before = books.state;
  const later = await contextOf(stage, operator, registry);
  const honest = buildBatch(books, later, signJobs(cast, books, later, 40, payees));
  const receipts = honest.receipts.map((receipt, i) =>
    i === 20 && receipt ? { ...receipt, stateRoot: receipt.stateRoot.with(0, receipt.stateRoot[0] ^ 1) } : receipt,
  );
  const tree = buildBatchTree(receiptLeaves(receipts));
  const header = { ...honest.header, receiptsRoot: tree.root };
  const lying: SealedBatch = { ...honest, header, hash: headerHash(header), receipts, tree };
  await stage.gasOf(stage.contracts.settlement.write.submitBatch([headerWitness(header)]));
  const { wrong } = replayBatch(before, lying, later);
  if (!wrong) throw new Error("The replay did not find the lie.");
  const proof = buildFraudProof(lying, parent, wrong, registry);
  const [, , prover] = stage.wallets;
  return Number(await stage.gasOf(stage.contracts.settlement.write.proveFraud([proof], { account: prover.account })));
}

/** What a user would do instead: an ERC-20 transfer to each of 6 payees per job, and a Merkle claim per payout. */
export async function baselineGas(stage: Stage): Promise<{ push: number; merkleClaim: number }> {
  const { token } = stage.contracts;
  const payees = stage.wallets.slice(4, 10).map(({ account }) => account.address);
  const splitter = await stage.connection.viem.deployContract("PushSplitter");
  await stage.gasOf(token.write.approve([splitter.address, 2n ** 255n]));
  const amounts = payees.map(() => OPEN / 1000n);
  const push = () => stage.gasOf(splitter.write.push([token.address, payees, amounts]));
  // The payees' first balances are dearer; a payee of many jobs has one already.
  await push();

  const accounts = Array.from({ length: 1024 }, (_, i): Address => `0x${(i + 1).toString(16).padStart(40, "0")}`);
  accounts[0] = payees[0];
  const earned = 5n * OPEN;
  const leaf = (account: Address): Hex =>
    keccak256(keccak256(encodeAbiParameters([{ type: "address" }, { type: "uint256" }], [account, earned])));
  let level: Hex[] = accounts.map(leaf);
  const proof: Hex[] = [];
  while (level.length > 1) {
    proof.push(level[1]);
    level = level.filter((_, i) => i % 2 === 0).map((left, i) => pair(left, level[2 * i + 1]));
  }
  const claims = await stage.connection.viem.deployContract("MerkleClaim", [token.address, level[0]]);
  await stage.gasOf(token.write.transfer([claims.address, 10n * earned]));
  const merkleClaim = await stage.gasOf(claims.write.claim([payees[0], earned, proof]));
  return { push: Number(await push()), merkleClaim: Number(merkleClaim) };
}

function pair(a: Hex, b: Hex): Hex {
  const [low, high] = BigInt(a) < BigInt(b) ? [a, b] : [b, a];
  return keccak256(encodePacked(["bytes32", "bytes32"], [low, high]));
}
