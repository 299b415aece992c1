import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mnemonicToAccount } from "viem/accounts";
import { TransactionSender } from "../../../operator/chain/transactions.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { confirmJob, reserveCap } from "../../../operator/protocol/cap-ledger.ts";
import { headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { openData } from "../../../operator/protocol/replay.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { signDigest } from "../../../operator/protocol/signature.ts";
import { voucherDigest } from "../../../operator/protocol/voucher.ts";
import type { ChainPort } from "../../../operator/settlement/chain-port.ts";
import { Journal } from "../../../operator/settlement/journal/journal.ts";
import { LocalSequencer, type SequencerRegistry } from "../../../operator/settlement/local-sequencer.ts";
import { publishedName } from "../../../operator/settlement/publication.ts";
import { Settler, type SettlerOptions } from "../../../operator/settlement/settler.ts";
import { viemChainPort } from "../../../operator/settlement/viem-chain-port.ts";
import { cast, type Operator, openOperator, type Registered, registerEverything } from "../../../scripts/demo/cast.ts";
import { readChainView } from "../../../scripts/stage/chain-view.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";

/** The local network's accounts; Olga's is the tenth. */
const MNEMONIC = "test test test test test test test test test test test junk";
const OLGA = 9;

describe("settling on a chain", () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-settler-"));
  let stage: Stage;
  let olga: Operator;
  let registered: Registered;
  let registry: SequencerRegistry;
  let sender: TransactionSender;
  let journal: Journal;
  let sequencer: LocalSequencer;
  /** The chain's clock. */
  let now: number;

  before(async () => {
    stage = await openStage();
    const people = cast(stage);
    registered = await registerEverything(stage, people);
    olga = await openOperator(stage, people.Olga, [people.Paul, people.Quinn]);
    const account = mnemonicToAccount(MNEMONIC, { addressIndex: OLGA });
    assert.equal(account.address.toLowerCase(), people.Olga.account.address.toLowerCase());
    sender = new TransactionSender({ client: stage.client, account, file: join(folder, "sent.sqlite"), interval: 5 });
    const view = await readChainView(stage);
    const channel: SequencerRegistry["channel"] = (id) => {
      const info = view.channel(id);
      return info && { ...info, thawing: 0n };
    };
    registry = { ...view, channel, head: () => ({ time: now }) };
    now = await stage.now();
    open();
  });

  after(async () => {
    journal.close();
    sender.close();
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  function open(): void {
    journal = new Journal({ file: join(folder, "journal.sqlite"), operator: olga.id, separator: stage.separator });
    const { windows } = stage.parameters;
    sequencer = new LocalSequencer({ journal, registry, windows, clock: () => now, postingDelay: 60 });
  }

  function settlerWith(options: Partial<SettlerOptions> = {}): Settler {
    const chain = chainPort();
    const { windows } = stage.parameters;
    const directory = join(folder, "published");
    const limits = { batchReceipts: 10, batchSeconds: 600, clock: () => now };
    return new Settler({ journal, sequencer, chain, directory, windows, ...limits, ...options });
  }

  function chainPort(): ChainPort {
    return viemChainPort({ client: stage.client, sender, deployment: stage.deployment, payeesOf: () => [] });
  }

  async function wait(seconds: number): Promise<void> {
    await stage.wait(seconds);
    now = await stage.now();
  }

  /** Paid jobs from both payers, answered. */
  async function serve(count: number): Promise<void> {
    now = await stage.now();
    const { agent, contributions } = registered;
    for (let i = 0; i < count; i++) {
      const paid = olga.channels[i % olga.channels.length];
      const maxPrice = 10n ** 16n;
      const { nonce, cap, ledger } = reserveCap(paid.ledger, maxPrice)!;
      const [salt, request, response, trace] = [32, 50, 60, 70].map((length) => new Uint8Array(randomBytes(length)));
      const requestHash = saltedHash(salt, request);
      const expiry = BigInt(now + 600);
      const voucher = { channel: paid.channel, nonce, agent, version: 1, requestHash, maxPrice, cap, expiry };
      const signature = toHex(signDigest(voucherDigest(stage.separator, voucher), paid.key));
      const { jobId } = await sequencer.admit({ voucher, signature, request, salt: toHex(salt) });
      const { price } = await sequencer.complete(jobId, {
        responseHash: toHex(saltedHash(salt, response)),
        traceHash: toHex(keccak(trace)),
        promptTokens: 100 + i,
        completionTokens: 30,
        context: [{ id: contributions[i % contributions.length], ppm: 1_000_000, via: 0 }],
        training: [],
        tools: [],
        response,
        trace,
      });
      paid.ledger = confirmJob(ledger, nonce, price);
    }
  }

  const tip = async () => (await stage.contracts.settlement.read.chainOf([olga.id])).tip;

  it("posts a batch when it is full or old, and publishes what anybody needs to replay it", async () => {
    const settler = settlerWith();
    await serve(3);
    await settler.round();
    assert.equal(await tip(), 0n, "neither full nor old");
    await wait(601);
    await settler.round();
    assert.equal(await tip(), 1n);
    await serve(10);
    await settler.round();
    assert.equal(await tip(), 2n);
    await settler.round();
    assert.equal(await tip(), 2n, "there is nothing more to post");
    const files = readdirSync(join(folder, "published"));
    assert.equal(files.length, 2);
    for (const { header } of journal.batches()) {
      assert.ok(openData(header!, readFileSync(join(folder, "published", publishedName(header!.dataHash)))));
    }
    assert.deepEqual(settler.health(), {
      lastSuccess: now,
      lastError: undefined,
      unpostedSince: undefined,
      alarm: false,
    });
  });

  it("goes on after its process ended, and pays all to the wei once the batches are final", async () => {
    journal.close();
    open();
    await serve(2);
    await settlerWith().round();
    assert.equal(await tip(), 2n, "what was posted is not posted again");
    await wait(stage.parameters.windows.challenge + 1);
    const settler = settlerWith({ batchSeconds: 10_000 });
    await settler.round();
    const { settlement, channels, token } = stage.contracts;
    assert.equal((await settlement.read.chainOf([olga.id])).finalHeight, 2n);
    const { state } = journal.batches()[1].header!;
    const pool = await settlement.read.poolOf([olga.id]);
    assert.equal(pool.contributorsPaid + pool.treasuryPaid + pool.operatorPaid, state.totalSpent);
    assert.equal(pool.operatorPaid, state.operatorEarned);
    let collected = 0n;
    for (const { channel } of olga.channels) collected += await channels.read.collectedOf([channel]);
    assert.equal(collected, state.totalSpent);
    assert.equal(await token.read.balanceOf([settlement.address]), 0n);
    const sent = await stage.client.getTransactionCount({ address: olga.person.account.address });
    await settler.round();
    assert.equal(await stage.client.getTransactionCount({ address: olga.person.account.address }), sent);
  });

  it("waits for cheaper gas only so long, and gives the alarm", async () => {
    await settlerWith().round({ force: true });
    const posted = await tip();
    await serve(10);
    const settler = settlerWith({ maxGasPrice: 0n, patience: 2_000, alarmAfter: 1_000 });
    await settler.round();
    assert.equal(await tip(), posted);
    assert.equal(settler.health().alarm, false);
    await wait(1_001);
    await settler.round();
    assert.equal(await tip(), posted);
    assert.equal(settler.health().alarm, true);
    await wait(1_000);
    await settler.round();
    assert.equal(await tip(), posted + 1n);
    assert.equal(settler.health().alarm, false);
  });

  it("posts nothing that would be a lie by the chain's clock", async () => {
    await serve(10);
    const posted = await tip();
    const at = (time: number) => settlerWith({ chain: { ...chainPort(), time: async () => time } });
    const expiry = now + 600;
    const { voucherLife, posting } = stage.parameters.windows;
    await at(expiry - voucherLife - 1).round();
    assert.equal(await tip(), posted, "a chain that is behind would call the voucher too long");
    await assert.rejects(at(expiry + posting - 899).round(), { code: "tooLate" });
    assert.equal(await tip(), posted);
    await settlerWith().round();
    assert.equal(await tip(), posted + 1n);
  });

  it("reveals what is demanded", async () => {
    await serve(40);
    const settler = settlerWith({ batchReceipts: 40 });
    await settler.round();
    const { header } = journal.batches().at(-1)!;
    const { settlement } = stage.contracts;
    const value = 2n * (await settlement.read.demandPrice());
    await stage.gasOf(settlement.write.demandChunk([headerWitness(header!), 1n], { value }));
    assert.equal((await settlement.read.batchAt([olga.id, header!.height])).openDemands, 1);
    await settler.round();
    assert.equal((await settlement.read.batchAt([olga.id, header!.height])).openDemands, 0);
  });

  it("stops when a batch has fallen", async () => {
    await serve(1);
    const settler = settlerWith();
    await settler.round({ force: true });
    const { header } = journal.batches().at(-1)!;
    const { settlement } = stage.contracts;
    const value = 2n * (await settlement.read.demandPrice());
    await stage.gasOf(settlement.write.demandChunk([headerWitness(header!), 0n], { value }));
    await wait(stage.parameters.windows.reveal + 1);
    await stage.gasOf(settlement.write.proveWithheld([headerWitness(header!), 0n]));
    await assert.rejects(settler.round(), { code: "batchFell" });
    assert.match(settler.health().lastError!, /does not hold batch/);
  });
});
