import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mnemonicToAccount } from "viem/accounts";
import type { ChainReader } from "../../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { TransactionSender } from "../../../operator/chain/transactions.ts";
import { openBatch, type SealedBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { settlingTime } from "../../../operator/protocol/bounds.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { revealWitness } from "../../../operator/protocol/claims.ts";
import { headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import type { BatchHeader } from "../../../operator/protocol/header.ts";
import { emptyState, type State } from "../../../operator/protocol/state.ts";
import { viemWatchPort } from "../../../operator/settlement/viem-watch-port.ts";
import { Watcher, type WatcherOptions } from "../../../operator/settlement/watcher.ts";
import { stealOneWei } from "../../../scripts/demo/lie.ts";
import { cast, type Operator, openOperator, type Registered, registerEverything } from "../../../scripts/stage/cast.ts";
import { serveJobs } from "../../../scripts/stage/jobs.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";

/** The local network's accounts; the watcher's is the last of those that play. */
const MNEMONIC = "test test test test test test test test test test test junk";
const WEI = 13;

interface Served {
  batch: SealedBatch;
  parent: BatchHeader | null;
  after: State;
}

describe("the watcher", () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-watcher-"));
  const published = new Map<string, Uint8Array>();
  let stage: Stage;
  let registered: Registered;
  let mirror: RegistryMirror;
  let sender: TransactionSender;
  let people: ReturnType<typeof cast>;

  before(async () => {
    stage = await openStage();
    people = cast(stage);
    registered = await registerEverything(stage, people);
    const account = mnemonicToAccount(MNEMONIC, { addressIndex: WEI });
    sender = new TransactionSender({ client: stage.client, account, file: join(folder, "sent.sqlite"), interval: 5 });
    const reader = stage.client as unknown as ChainReader;
    mirror = new RegistryMirror({ file: ":memory:", reader, deployment: stage.deployment, confirmations: 0 });
  });

  after(async () => {
    mirror.close();
    sender.close();
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  const newOperator = (name: string) => openOperator(stage, people[name], [people.Paul]);

  function newWatcher(options: Partial<WatcherOptions> = {}): Watcher {
    const chain = viemWatchPort({ client: stage.client, sender, deployment: stage.deployment, maxRange: 20 });
    const { windows } = stage.parameters;
    const fetchData = async (header: BatchHeader) => published.get(toHex(header.dataHash));
    return new Watcher({ chain, registry: mirror, fetchData, separator: stage.separator, windows, ...options });
  }

  async function serve(operator: Operator, count: number, below?: Served): Promise<Served> {
    await mirror.sync();
    const now = await stage.now();
    const { separator } = stage;
    const windows = { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) };
    const times = { registryTime: now, submittedAt: now };
    const open = openBatch(below?.after ?? emptyState(), {
      operator: operator.id,
      windows,
      separator,
      registry: mirror,
      ...times,
    });
    serveJobs(operator, registered, open, count);
    const parent = below?.batch.header ?? null;
    return { batch: sealBatch(open, parent, (parent?.sequence ?? 0n) + 1n), parent, after: open.state };
  }

  async function post({ person }: Operator, batch: SealedBatch, publish = true): Promise<void> {
    const { account } = person;
    await stage.gasOf(stage.contracts.settlement.write.submitBatch([headerWitness(batch.header)], { account }));
    if (publish) published.set(toHex(batch.header.dataHash), batch.data);
    await mirror.sync();
  }

  const tipOf = async ({ id }: Operator) => (await stage.contracts.settlement.read.chainOf([id])).tip;
  const lieOf = ({ batch, after }: Served) => stealOneWei(batch, after, registered.contributions[0]);

  it("lets honest batches stand and makes one fall that moves a single wei", async () => {
    const [honest, liar] = [await newOperator("Olga"), await newOperator("Mallory")];
    const first = await serve(honest, 5);
    await post(honest, first.batch);
    await post(honest, (await serve(honest, 4, first)).batch);
    const base = await serve(liar, 6);
    await post(liar, base.batch);
    await post(liar, lieOf(await serve(liar, 8, base)));
    const watcher = newWatcher();
    const found = (await watcher.round()).map(({ operator, height, what }) => [operator, height, what]);
    assert.deepEqual(found, [
      [honest.id, 1n, "honest"],
      [honest.id, 2n, "honest"],
      [liar.id, 1n, "honest"],
      [liar.id, 2n, "lie"],
    ]);
    assert.deepEqual([await tipOf(honest), await tipOf(liar)], [2n, 1n]);
    assert.equal(await stage.contracts.operators.read.bondOf([liar.id]), 0n);
    assert.equal((await watcher.round()).length, 1, "a mirror that lags shows the lie still; it is not proven twice");
    await mirror.sync();
    assert.deepEqual(await watcher.round(), []);
  });

  it("demands what is withheld, and proves the lie in what is revealed", async () => {
    const liar = await newOperator("Chen");
    const lie = lieOf(await serve(liar, 40));
    await post(liar, lie, false);
    const watcher = newWatcher();
    const round = async () => (await watcher.round()).find(({ operator }) => operator === liar.id);
    assert.equal((await round())?.detail, "2 chunks demanded, 0 demands open before");
    assert.equal((await round())?.detail, "0 chunks demanded, 2 demands open before");
    const header = headerWitness(lie.header);
    for (const chunk of [0, 1]) {
      const { receipts, path } = revealWitness(lie, chunk);
      await stage.gasOf(stage.contracts.settlement.write.revealChunk([header, BigInt(chunk), receipts, path]));
    }
    await stage.connection.networkHelpers.mine(30);
    const finding = await round();
    assert.deepEqual([finding?.what, finding?.verdict], ["lie", "wrongState"]);
    assert.equal(await tipOf(liar), 0n);
    await mirror.sync();
  });

  it("makes a batch fall whose data stay withheld, and checks what is posted in its place", async () => {
    const silent = await newOperator("Dora");
    const served = await serve(silent, 3);
    await post(silent, served.batch, false);
    const roundOf = async (watcher: Watcher) =>
      (await watcher.round()).filter(({ operator }) => operator === silent.id).map(({ detail }) => detail);
    const friend = newWatcher({ fetchData: async () => served.batch.data });
    assert.deepEqual(await roundOf(friend), ["3 receipts"]);
    assert.deepEqual(await roundOf(newWatcher({ demandsPerRound: 0 })), ["0 chunks demanded, 0 demands open before"]);
    const watcher = newWatcher();
    assert.deepEqual(await roundOf(watcher), ["1 chunks demanded, 0 demands open before"]);
    await stage.wait(stage.parameters.windows.reveal + 1);
    assert.deepEqual(await roundOf(watcher), ["chunk 0 was not revealed in time"]);
    assert.equal(await tipOf(silent), 0n);

    const { token, operators } = stage.contracts;
    const bond = stage.parameters.minimumBond;
    await stage.gasOf(token.write.approve([operators.address, bond]));
    await stage.gasOf(operators.write.depositBond([silent.id, bond]));
    const another = await serve(silent, 2);
    const header = { ...another.batch.header, sequence: 2n };
    await post(silent, { ...another.batch, header });
    assert.deepEqual(await roundOf(watcher), ["2 receipts"]);
    Object.assign(served.batch, { data: another.batch.data });
    assert.deepEqual(await roundOf(friend), ["2 receipts"], "what was checked before has fallen");
    assert.deepEqual(await roundOf(friend), []);
  });

  it("goes on with the others when one operator's data cannot be fetched", async () => {
    const fetchData = async ({ operator, dataHash }: BatchHeader) => {
      if (operator === 1) throw new Error("no route to host");
      return published.get(toHex(dataHash));
    };
    const findings = await newWatcher({ fetchData }).round();
    assert.deepEqual(
      findings.filter(({ operator }) => operator <= 2).map(({ what, detail }) => [what, detail]),
      [
        ["unchecked", "no route to host"],
        ["honest", "6 receipts"],
      ],
    );
  });
});
