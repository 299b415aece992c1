import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import { settlingTime } from "../../../operator/protocol/bounds.ts";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { buildFraudProof, headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { type BatchHeader, headerHash } from "../../../operator/protocol/header.ts";
import { openData, replayBatch } from "../../../operator/protocol/replay.ts";
import { readChainView } from "../../../scripts/stage/chain-view.ts";
import { ChainOffice } from "./chain-office.ts";
import { rootOf } from "./office.ts";

describe("after a fall", () => {
  let office: ChainOffice | undefined;
  const at = () => office!;

  beforeEach(async () => {
    await office?.close();
    office = await ChainOffice.open();
  });
  after(() => office?.close());

  const headers = () =>
    at()
      .journal.batches()
      .flatMap(({ header }) => (header ? [header] : []));
  const receipts = () => at().journal.receiptsAbove(0);

  /** Makes a posted batch fall by the contract's own rules: a demand that nobody answers. */
  async function withhold(header: BatchHeader): Promise<void> {
    const { stage } = at();
    const { settlement } = stage.contracts;
    const value = 2n * (await settlement.read.demandPrice());
    await stage.gasOf(settlement.write.demandChunk([headerWitness(header), 0n], { value }));
    await at().wait(stage.parameters.windows.reveal + 1);
    await stage.gasOf(settlement.write.proveWithheld([headerWitness(header), 0n]));
  }

  /** What an honest watcher does: replays by the chain's own view, and proves the first wrong receipt. */
  async function prove(header: BatchHeader): Promise<void> {
    const { stage, sequencer, journal, olga } = at();
    const registry = await readChainView(stage);
    const { submittedAt } = await at().chainPort().batchAt(olga.id, header.height);
    const windows = { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) };
    const { operator, registryTime } = header;
    const context = { operator, registryTime, submittedAt, windows, separator: stage.separator, registry };
    const batch = openData(header, journal.published(header.dataHash)!)!;
    const parent = headers().at(Number(header.height) - 2) ?? null;
    const before = sequencer.stateAfter(Number(header.sequence) - 1);
    const { wrong } = replayBatch(before, batch, context);
    const proof = buildFraudProof(batch, header.height > 1n ? parent : null, wrong!, registry);
    await stage.gasOf(stage.contracts.settlement.write.proveFraud([proof]));
  }

  /** To the end: everything posted is final, collected and paid. */
  async function settleAll(): Promise<void> {
    await at().wait(at().stage.parameters.windows.challenge + 1);
    await at().settlerWith({ batchSeconds: 10_000 }).round();
    const { settlement } = at().stage.contracts;
    const pool = await settlement.read.poolOf([at().olga.id]);
    const { totalSpent } = headers().at(-1)!.state;
    assert.equal(pool.contributorsPaid + pool.treasuryPaid + pool.operatorPaid, totalSpent);
    assert.equal(
      totalSpent,
      receipts().reduce((sum, { price }) => sum + price, 0n),
    );
  }

  it("what fell for withheld data is posted again, receipt by receipt, once there is a bond", async () => {
    await at().serve(3);
    const settler = at().settlerWith();
    await settler.round({ force: true });
    await at().serve(4);
    await settler.round({ force: true });
    await at().serve(2);
    const before = receipts();
    const root = rootOf(at().sequencer);
    await withhold(headers()[1]);
    await assert.rejects(settler.round(), /BondTooSmall/);
    assert.equal(await at().tip(), 1n);
    assert.deepEqual(
      headers().map(({ height, sequence }) => [height, sequence]),
      [
        [1n, 1n],
        [2n, 4n],
      ],
    );
    assert.deepEqual(settler.health().losses, { batches: 1, receipts: 0 });

    at().journal.close();
    at().start();
    await at().bond();
    await at().settlerWith().round();
    assert.equal(await at().tip(), 2n);
    const moved = receipts();
    const plain = ({ jobId, position, price, charged, body }: (typeof moved)[number]) => [
      ...[jobId, position, price, charged],
      toHex(body),
    ];
    assert.deepEqual(moved.map(plain), before.map(plain));
    assert.deepEqual(
      moved.map(({ batch, index }) => [batch, index]).slice(3),
      [0, 1, 2, 3, 4, 5].map((i) => [4, i]),
    );
    assert.equal(rootOf(at().sequencer), root);
    await at().serve(1);
    await at().settlerWith().round({ force: true });
    assert.deepEqual([await at().tip(), headers()[2].sequence], [3n, 5n]);
    await settleAll();
  });

  it("a receipt that was a lie is set aside for good, and the rest is posted without it", async () => {
    const { registry } = at();
    const settler = at().settlerWith();
    await at().serve(2);
    await settler.round({ force: true });
    // A registry that shows what the chain does not have.
    const { contribution } = registry;
    const missing = 9_999;
    Object.assign(registry, {
      contribution: (id: number) => contribution(id === missing ? at().registered.contributions[0] : id),
    });
    await at().serve(2);
    const [lied] = await at().serve(1, missing);
    const after = await at().serve(2);
    await settler.round({ force: true });
    const [, wrong] = headers();
    await prove(wrong);
    assert.equal(await at().tip(), 1n);
    await at().bond();
    await settler.round();
    assert.equal(await at().tip(), 2n);
    assert.deepEqual(settler.health().losses, { batches: 1, receipts: 1 });

    const job = await at().sequencer.job(lied as Hex);
    assert.equal(job?.state, "failed");
    assert.match(job?.reason ?? "", /attribution/);
    assert.ok(after.every((id) => at().journal.jobState(id as Hex) === "completed"));
    const posted = openData(headers()[1], at().journal.published(headers()[1].dataHash)!)!;
    assert.equal(posted.receipts.length, 4);
    const { channel } = job!.voucher;
    const { charged } = await at().sequencer.channel(channel);
    const prices = receipts().filter((receipt) => receipt.channel === channel);
    assert.equal(
      charged,
      prices.reduce((sum, { price }) => sum + price, 0n),
      "its payer is not charged",
    );
    await assert.rejects(prove(headers()[1]), "there is nothing left to prove");
    Object.assign(registry, { contribution });
    at().journal.close();
    at().start();
    const { jobId } = receipts().at(-1)!;
    assert.equal((await at().sequencer.job(jobId))?.state, "completed");
    await settleAll();
  });

  it("nothing is posted again by itself when this program wrote what no rule of the registries explains", async () => {
    await at().serve(3);
    const settler = at().settlerWith();
    await settler.round({ force: true });
    const [header] = headers();
    await withhold(header);
    const chain = { ...at().chainPort(), provenLie: async () => ({ index: 1, verdict: 22 as const }) };
    await assert.rejects(at().settlerWith({ chain }).round(), { code: "batchDisputed" });
    assert.equal(toHex(headerHash(headers()[0])), toHex(headerHash(header)));
    assert.deepEqual(settler.health().losses, { batches: 0, receipts: 0 });
  });

  it("waits for an endpoint that has not read why a batch fell: without the proof, the lie would be posted again", async () => {
    await at().serve(3);
    await at().settlerWith().round({ force: true });
    const [header] = headers();
    await withhold(header);
    const behind = { ...at().chainPort(), demandStatus: async () => "none" as const };
    const settler = at().settlerWith({ chain: behind });
    await assert.rejects(settler.round(), { code: "fallUnexplained" });
    assert.equal(toHex(headerHash(headers()[0])), toHex(headerHash(header)));
    assert.deepEqual(settler.health().losses, { batches: 0, receipts: 0 });
    await at().bond();
    await at().settlerWith().round();
    assert.deepEqual([await at().tip(), headers()[0].sequence], [1n, 2n]);
  });

  it("a view of the registries that became too old to be posted is taken anew", async () => {
    const { posting, voucherLife } = at().stage.parameters.windows;
    const { registry } = at();
    const stuck = at().now;
    const head = registry.head;
    Object.assign(registry, { head: () => ({ time: stuck }) });
    await at().wait(posting + voucherLife - 100);
    await at().serve(2);
    await at().sequencer.seal();
    await assert.rejects(at().settlerWith().round(), { code: "registryStale" });
    assert.equal(await at().tip(), 0n);
    Object.assign(registry, { head });
    await at().settlerWith().round();
    assert.equal(await at().tip(), 1n);
    assert.equal(receipts().length, 2);
  });

  it("places for batches that are not final last, however fast batches come", async () => {
    const settler = at().settlerWith({ batchReceipts: 1, batchSeconds: 1 });
    for (let batch = 0; batch < 20; batch++) {
      await at().serve(1);
      await settler.round();
    }
    assert.equal(await at().tip(), 16n);
    assert.equal(at().sequencer.openReceipts, 4);
    await at().wait(at().stage.parameters.windows.challenge / 12 + 1);
    await settler.round();
    assert.deepEqual([await at().tip(), at().sequencer.openReceipts], [17n, 0]);
  });

  it("waits while the chain may still undo the fall", async () => {
    await at().serve(3);
    const settler = at().settlerWith();
    await settler.round({ force: true });
    await withhold(headers()[0]);
    await at().bond();
    const chain = at().chainPort();
    const standing = async (operator: number, settled?: boolean) =>
      settled ? { tip: 1n, finalHeight: 0n, sequence: 1n } : chain.standing(operator);
    await at()
      .settlerWith({ chain: { ...chain, standing } })
      .round();
    assert.deepEqual([await at().tip(), headers()[0].sequence], [0n, 1n]);
    await at().settlerWith().round();
    assert.deepEqual([await at().tip(), headers()[0].sequence], [1n, 2n]);
  });

  it("receipts that came too late are given up, with no charge, and keep nothing else from being posted", async () => {
    const { posting } = at().stage.parameters.windows;
    const late = await at().serve(2);
    await at().sequencer.seal();
    await at().wait(600 + posting - 100);
    const inTime = await at().serve(2);
    const rebuilt: string[] = [];
    const settler = at().settlerWith({ onRebuilt: (reason) => rebuilt.push(reason) });
    await settler.round({ force: true });
    assert.equal(await at().tip(), 1n);
    assert.deepEqual(rebuilt, ["a receipt in it came too late to be posted"]);
    for (const id of late) assert.match((await at().sequencer.job(id as Hex))?.reason ?? "", /voucherExpired/);
    assert.deepEqual(
      receipts().map(({ jobId }) => jobId),
      inTime,
    );
    assert.deepEqual(settler.health().losses, { batches: 2, receipts: 2 });
    at().journal.close();
    at().start();
    assert.deepEqual((await at().serve(1)).length, 1);
    assert.equal(receipts().at(-1)?.position, 5, "no position is given twice");
    await at().settlerWith().round({ force: true });
    await settleAll();
  });

  it("a batch waits until it earns what its gas costs, or until its time comes", async () => {
    await at().serve(3);
    const cheap = at().settlerWith({ coinPerOpen: 10n ** 12n, patience: 2_000 });
    await at().wait(700);
    await cheap.round();
    assert.equal(await at().tip(), 0n);
    assert.equal(headers().length, 0, "it is not even closed: more receipts may come");
    await at()
      .settlerWith({ coinPerOpen: 10n ** 30n })
      .round();
    assert.equal(await at().tip(), 1n);
    await at().serve(1);
    await at().wait(1_900);
    await cheap.round();
    assert.equal(await at().tip(), 1n);
    await at().wait(101);
    await cheap.round();
    assert.equal(await at().tip(), 2n);
  });

  it("empties old answers of final batches, and nothing else", async () => {
    const [first] = await at().serve(2);
    const settler = at().settlerWith({ keepAnswersFor: 5_000, batchSeconds: 1 });
    await settler.round({ force: true });
    await at().wait(at().stage.parameters.windows.challenge + 1);
    await settler.round();
    const bytes = async () => {
      const { request, response, trace, receipt } = (await at().sequencer.job(first as Hex))!;
      return [request.length, response?.length, trace?.length, receipt?.position];
    };
    assert.deepEqual(await bytes(), [50, 60, 70, 1]);
    await at().wait(5_000);
    const [last] = await at().serve(1);
    await settler.round();
    assert.deepEqual(await bytes(), [0, undefined, undefined, 1]);
    assert.equal((await at().sequencer.job(last as Hex))?.response?.length, 60);
    const root = rootOf(at().sequencer);
    at().journal.close();
    at().start();
    assert.equal(rootOf(at().sequencer), root, "the books need no answers");
  });
});
