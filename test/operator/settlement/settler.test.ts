import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { TransactionRefused } from "../../../operator/chain/transactions/transaction-errors.ts";
import { headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { openData } from "../../../operator/protocol/replay.ts";
import { publishedName } from "../../../operator/settlement/publication.ts";
import { ChainOffice } from "./chain-office.ts";

describe("settling on a chain", () => {
  let office: ChainOffice;

  before(async () => {
    office = await ChainOffice.open();
  });
  after(() => office.close());

  it("posts a batch when it is full or old, and publishes what anybody needs to replay it", async () => {
    const settler = office.settlerWith();
    await office.serve(3);
    await settler.round();
    assert.equal(await office.tip(), 0n, "neither full nor old");
    await office.wait(601);
    await settler.round();
    assert.equal(await office.tip(), 1n);
    await office.serve(10);
    await settler.round();
    assert.equal(await office.tip(), 2n);
    await settler.round();
    assert.equal(await office.tip(), 2n, "there is nothing more to post");
    const files = readdirSync(join(office.folder, "published"));
    assert.equal(files.length, 2);
    for (const { header } of office.journal.batches()) {
      assert.ok(openData(header!, readFileSync(join(office.folder, "published", publishedName(header!.dataHash)))));
    }
    assert.deepEqual(settler.health(), {
      lastSuccess: office.now,
      lastError: undefined,
      unpostedSince: undefined,
      losses: { batches: 0, receipts: 0 },
      alarm: false,
    });
  });

  it("goes on after its process ended, and pays all to the wei once the batches are final", async () => {
    office.journal.close();
    rmSync(join(office.folder, "published"), { recursive: true });
    office.start();
    await office.serve(2);
    await office.settlerWith().round();
    assert.equal(await office.tip(), 2n, "what was posted is not posted again");
    assert.equal(readdirSync(join(office.folder, "published")).length, 2, "a folder that was lost is filled again");
    await office.wait(office.stage.parameters.windows.challenge + 1);
    const { settlement, channels, token } = office.stage.contracts;
    // As when a contributor has named payees that this node has not read of.
    const port = office.chainPort();
    const [, unknown] = office.registered.contributions;
    const refused: typeof port.claim = async (witness) => {
      const { ids } = witness;
      if (ids.includes(unknown)) throw new TransactionRefused("Paying", "WrongPayees", "Settlement_WrongPayees");
      await port.claim(witness);
    };
    const told: number[] = [];
    const hindered = office.settlerWith({
      chain: { ...port, claim: refused },
      batchSeconds: 10_000,
      onUnpaid: (unpaid) => told.push(...unpaid.map(({ id }) => id)),
    });
    await hindered.round();
    assert.deepEqual(told, [unknown]);
    assert.equal(await settlement.read.claimedOf([office.olga.id, unknown]), 0n);
    assert.ok((await settlement.read.claimedOf([office.olga.id, office.registered.contributions[0]])) > 0n);
    assert.ok((await settlement.read.poolOf([office.olga.id])).operatorPaid > 0n, "nobody else waits");
    const settler = office.settlerWith({ batchSeconds: 10_000 });
    await settler.round();
    assert.equal((await settlement.read.chainOf([office.olga.id])).finalHeight, 2n);
    const { state } = office.journal.batches()[1].header!;
    const pool = await settlement.read.poolOf([office.olga.id]);
    assert.equal(pool.contributorsPaid + pool.treasuryPaid + pool.operatorPaid, state.totalSpent);
    assert.equal(pool.operatorPaid, state.operatorEarned);
    let collected = 0n;
    for (const { channel } of office.olga.channels) collected += await channels.read.collectedOf([channel]);
    assert.equal(collected, state.totalSpent);
    assert.equal(await token.read.balanceOf([settlement.address]), 0n);
    const sent = await office.stage.client.getTransactionCount({ address: office.olga.person.account.address });
    await settler.round();
    assert.equal(await office.stage.client.getTransactionCount({ address: office.olga.person.account.address }), sent);
  });

  it("waits for cheaper gas only so long, and gives the alarm", async () => {
    await office.settlerWith().round({ force: true });
    const posted = await office.tip();
    await office.serve(10);
    const settler = office.settlerWith({ maxGasPrice: 0n, patience: 2_000, alarmAfter: 1_000 });
    await settler.round();
    assert.equal(await office.tip(), posted);
    assert.equal(settler.health().alarm, false);
    await office.wait(1_001);
    await settler.round();
    assert.equal(await office.tip(), posted);
    assert.equal(settler.health().alarm, true);
    await office.wait(1_000);
    await settler.round();
    assert.equal(await office.tip(), posted + 1n);
    assert.equal(settler.health().alarm, false);
  });

  it("posts nothing that would be a lie by the chain's clock", async () => {
    await office.serve(10);
    const posted = await office.tip();
    const at = (time: number) => office.settlerWith({ chain: { ...office.chainPort(), time: async () => time } });
    const expiry = office.now + 600;
    const { voucherLife, posting } = office.stage.parameters.windows;
    await at(expiry - voucherLife - 1).round();
    assert.equal(await office.tip(), posted, "a chain that is behind would call the voucher too long");
    await assert.rejects(at(expiry + posting - 449).round(), { code: "clocksDisagree" });
    assert.equal(await office.tip(), posted);
    await office.settlerWith().round();
    assert.equal(await office.tip(), posted + 1n);
  });

  it("reveals what is demanded", async () => {
    await office.serve(40);
    const settler = office.settlerWith({ batchReceipts: 40 });
    await settler.round();
    const { header } = office.journal.batches().at(-1)!;
    const { settlement } = office.stage.contracts;
    const value = 2n * (await settlement.read.demandPrice());
    await office.stage.gasOf(settlement.write.demandChunk([headerWitness(header!), 1n], { value }));
    assert.equal((await settlement.read.batchAt([office.olga.id, header!.height])).openDemands, 1);
    await settler.round();
    assert.equal((await settlement.read.batchAt([office.olga.id, header!.height])).openDemands, 0);
  });

  it("posts in time also when the machine's clock is two hours behind the chain's", async () => {
    const settler = office.settlerWith({ clock: () => office.now - 7_200 });
    const height = await office.tip();
    await office.serve(3);
    await settler.round();
    assert.equal(await office.tip(), height, "neither full nor old");
    await office.wait(601);
    await settler.round();
    assert.equal(await office.tip(), height + 1n);
  });
});
