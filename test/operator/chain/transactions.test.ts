import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { network } from "hardhat";
import { encodeFunctionData, type Hex, type PublicClient } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { openTokenAbi } from "../../../operator/chain/abi/open-token.ts";
import { type SenderOptions, TransactionSender } from "../../../operator/chain/transactions.ts";

const COIN = 10n ** 18n;
const connection = await network.create("local");
const { provider, networkHelpers, viem } = connection;
const client = (await viem.getPublicClient()) as unknown as PublicClient;
const [funder] = await viem.getWalletClients();
const token = await viem.deployContract("OpenToken", [funder.account.address]);
after(() => connection.close());

let account: ReturnType<typeof privateKeyToAccount>;
let file: string;
const open: TransactionSender[] = [];

before(() => networkHelpers.mine(10));
beforeEach(async () => {
  account = privateKeyToAccount(generatePrivateKey());
  file = join(mkdtempSync(join(tmpdir(), "sender-")), "transactions.sqlite");
  await networkHelpers.setBalance(account.address, 100n * COIN);
  await automine(true);
});
afterEach(() => {
  for (const sender of open.splice(0)) sender.close();
});

function openSender(options: Partial<SenderOptions> = {}): TransactionSender {
  const sender = new TransactionSender({ client, account, file, interval: 5, ...options });
  open.push(sender);
  return sender;
}

function close(sender: TransactionSender): void {
  open.splice(open.indexOf(sender), 1);
  sender.close();
}

const automine = (on: boolean) => provider.request({ method: "evm_setAutomine", params: [on] });
const pay = (value: bigint, key?: string) => ({
  label: "A payment",
  to: funder.account.address,
  data: "0x" as Hex,
  value,
  key,
});
const paid = async (since: bigint) => (await client.getBalance({ address: funder.account.address })) - since;
const balance = () => client.getBalance({ address: funder.account.address });
const inMempool = async () => {
  const { transactions } = await client.getBlock({ blockTag: "pending", includeTransactions: true });
  return transactions.filter(({ from }) => from === account.address.toLowerCase());
};

/** A client whose answer to some calls is another. */
function withSending(send: (raw: Hex) => Promise<Hex>): PublicClient {
  return {
    ...client,
    sendRawTransaction: ({ serializedTransaction }: { serializedTransaction: Hex }) => send(serializedTransaction),
  } as never;
}

test("a call goes through and its receipt comes back; many at once take a nonce each", async () => {
  const sender = openSender();
  const before = await balance();
  const receipts = await Promise.all([1n, 2n, 3n, 4n].map((value) => sender.transact(pay(value))));
  assert.ok(receipts.every(({ status }) => status === "success"));
  assert.equal(await paid(before), 10n);
  assert.equal(await client.getTransactionCount({ address: account.address }), 4);
  assert.deepEqual(sender.pending(), []);
});

test("a call that would revert is not sent, and the contract's error is named", async () => {
  const sender = openSender();
  const data = encodeFunctionData({ abi: openTokenAbi, functionName: "transfer", args: [token.address, 5n] });
  await assert.rejects(sender.send({ label: "A transfer", to: token.address, data }), {
    name: "TransactionRefused",
    revert: "ERC20InsufficientBalance",
    message: /A transfer would fail: ERC20InsufficientBalance\(0x.*, 0, 5\)/,
  });
  await assert.rejects(sender.send(pay(1_000n * COIN)), { name: "TransactionRefused" });
  assert.equal(await client.getTransactionCount({ address: account.address }), 0);
  await sender.transact(pay(1n));
});

test("a node that takes a transaction and does not answer has taken it: it is paid once", async () => {
  const before = await balance();
  let calls = 0;
  const deaf = withSending(async (raw) => {
    if (calls++ === 0) await client.sendRawTransaction({ serializedTransaction: raw });
    throw new Error("The request took too long to respond.");
  });
  const sender = openSender({ client: deaf });
  await sender.transact(pay(7n));
  assert.equal(await paid(before), 7n);
});

test("what never arrived is given again under the same nonce", async () => {
  const before = await balance();
  let calls = 0;
  const lossy = withSending(async (raw) => {
    if (calls++ < 2) throw new Error("socket hang up");
    return client.sendRawTransaction({ serializedTransaction: raw });
  });
  const sender = openSender({ client: lossy });
  const receipt = await sender.transact(pay(7n));
  assert.equal(receipt.status, "success");
  assert.equal(calls, 3);
  assert.equal(await paid(before), 7n);
});

test("a fee that is too low rises while the nonce stays; one form of the transaction is mined", async () => {
  await automine(false);
  const sender = openSender({ bumpAfter: 0 });
  const before = await balance();
  const id = await sender.send(pay(7n));
  const [first] = await inMempool();
  await assert.rejects(sender.wait(id, { timeout: 30 }), { name: "TransactionUnknown" });
  const [last, ...others] = await inMempool();
  assert.deepEqual(others, []);
  assert.equal(last.nonce, first.nonce);
  assert.ok(
    last.maxFeePerGas! * 1_000n >= first.maxFeePerGas! * 1_125n,
    `${first.maxFeePerGas} to ${last.maxFeePerGas}`,
  );
  assert.ok(last.maxPriorityFeePerGas! * 1_000n >= first.maxPriorityFeePerGas! * 1_125n);
  await networkHelpers.mine();
  const receipt = await sender.wait(id);
  assert.notEqual(receipt.transactionHash, first.hash);
  assert.equal(await paid(before), 7n);
});

test("a fee rises also when the clock was set back after the signing", async (t) => {
  await automine(false);
  const sender = openSender({ bumpAfter: 60_000 });
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 7_200_000 });
  const id = await sender.send(pay(7n));
  t.mock.timers.reset();
  const [first] = await inMempool();
  await assert.rejects(sender.wait(id, { timeout: 30 }), { name: "TransactionUnknown" });
  const [last] = await inMempool();
  assert.ok(last.maxFeePerGas! > first.maxFeePerGas!);
  await networkHelpers.mine();
  await sender.wait(id);
});

test("an earlier form that is mined after all is found", async () => {
  await automine(false);
  const sender = openSender({ bumpAfter: 0 });
  const id = await sender.send(pay(7n));
  const [first] = await inMempool();
  await networkHelpers.mine();
  // The receipt is kept from the sender for a while, so that it signs another form.
  close(sender);
  let blind = true;
  const late = {
    ...client,
    getTransactionReceipt: (given: { hash: Hex }) =>
      client.getTransactionReceipt(blind ? { hash: `0x${"00".repeat(32)}` } : given),
    getTransactionCount: () => 0,
  } as never;
  const again = openSender({ bumpAfter: 0, client: late });
  await assert.rejects(again.wait(id, { timeout: 30 }), { name: "TransactionUnknown" });
  blind = false;
  assert.equal((await again.wait(id)).transactionHash, first.hash);
});

test("the fee stops rising at the ceiling", async () => {
  await automine(false);
  const ceiling = 3n * 10n ** 9n;
  const sender = openSender({ bumpAfter: 0, maxFeePerGas: ceiling });
  const id = await sender.send(pay(1n));
  await assert.rejects(sender.wait(id, { timeout: 60 }), { name: "TransactionUnknown" });
  const [last] = await inMempool();
  assert.ok(last.maxFeePerGas! <= ceiling);
  await networkHelpers.mine();
  await sender.wait(id);
});

test("an unknown transaction outlives its process, and its intent is never sent as another", async () => {
  await automine(false);
  const before = await balance();
  const sender = openSender({ client: withSending(() => Promise.reject(new Error("connection reset"))) });
  const id = await sender.send(pay(7n, "batch 1"));
  assert.equal(await sender.send(pay(7n, "batch 1")), id);
  close(sender);
  const next = openSender();
  assert.deepEqual(
    next.pending().map(({ key, nonce }) => [key, nonce]),
    [["batch 1", 0]],
  );
  assert.equal(await next.send(pay(7n, "batch 1")), id);
  const other = await next.send(pay(1n, "batch 2"));
  await automine(true);
  await next.wait(id);
  await next.wait(other);
  assert.equal(await next.send(pay(7n, "batch 1")), id, "nor when it is mined");
  assert.equal(await paid(before), 8n);
});

test("a stranger's transaction with the same nonce is told from one that is late", async () => {
  await automine(false);
  const sender = openSender({ client: withSending(() => Promise.reject(new Error("connection reset"))) });
  const id = await sender.send(pay(7n));
  const fees = await client.estimateFeesPerGas();
  const foreign = { type: "eip1559", chainId: 31337, nonce: 0, to: account.address, gas: 21_000n, ...fees } as const;
  await client.sendRawTransaction({ serializedTransaction: await account.signTransaction(foreign) });
  await networkHelpers.mine();
  await assert.rejects(sender.wait(id, { timeout: 40 }), { name: "TransactionUnknown" }, "not before more blocks");
  const waiting = sender.wait(id);
  const mining = setInterval(() => void networkHelpers.mine(), 10);
  await assert
    .rejects(waiting, { name: "TransactionFailed", message: /took nonce 0/ })
    .finally(() => clearInterval(mining));
  await automine(true);
  close(sender);
  const before = await balance();
  await openSender().transact(pay(3n));
  assert.equal(await paid(before), 3n);
});

test("a receipt that a re-org takes back does not count: the transaction is mined again", async () => {
  await automine(false);
  const before = await balance();
  const sender = openSender({ confirmations: 3, bumpAfter: 0 });
  const snapshot = await networkHelpers.takeSnapshot();
  const id = await sender.send(pay(7n));
  await networkHelpers.mine();
  await assert.rejects(sender.wait(id, { timeout: 20 }), { name: "TransactionUnknown" });
  assert.equal(await paid(before), 7n, "mined, not yet deep enough");
  await snapshot.restore();
  await automine(false);
  assert.equal(await paid(before), 0n);
  const waiting = sender.wait(id);
  const mining = setInterval(() => void networkHelpers.mine(), 10);
  const receipt = await waiting.finally(() => clearInterval(mining));
  assert.equal(receipt.status, "success");
  assert.equal(await paid(before), 7n);
});

test("a re-org that takes back what was settled does not hold up what comes after it", async () => {
  const before = await balance();
  const snapshot = await networkHelpers.takeSnapshot();
  await openSender().transact(pay(7n));
  await snapshot.restore();
  close(open[0]);
  assert.equal(await paid(before), 0n);
  await openSender().transact(pay(8n), { timeout: 5_000 });
  assert.equal(await paid(before), 15n, "the first is mined again, before the second");
  assert.deepEqual(open[0].pending().length, 1);
  await open[0].wait(open[0].pending()[0].id);
  assert.deepEqual(open[0].pending(), []);
});

test("a re-org that takes back what was settled does not hold up what is waited for", async () => {
  const before = await balance();
  const snapshot = await networkHelpers.takeSnapshot();
  await openSender().transact(pay(7n));
  await automine(false);
  const id = await open[0].send(pay(8n));
  await snapshot.restore();
  await automine(true);
  close(open[0]);
  // As a settler does that starts: what is pending comes before anything new.
  await openSender().wait(id, { timeout: 5_000 });
  assert.equal(await paid(before), 15n);
});

test("one process at a time sends for an account, and the lock ends with its process", () => {
  const sender = openSender();
  assert.throws(() => new TransactionSender({ client, account, file }), { name: "SignerBusy" });
  const journal = fileURLToPath(
    new URL("../../../operator/chain/transactions/transaction-journal.ts", import.meta.url),
  );
  const code = `const { TransactionJournal } = await import(${JSON.stringify(journal)});
    try { new TransactionJournal(${JSON.stringify(file)}); console.log("open"); } catch (error) { console.log(error.name); }
    process.kill(process.pid, "SIGKILL");`;
  const elsewhere = () =>
    spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" }).stdout.trim();
  assert.equal(elsewhere(), "SignerBusy");
  close(sender);
  assert.equal(elsewhere(), "open");
  openSender();
});

test("a transaction that reverts when it is mined has failed, and says so", async () => {
  let calls = 0;
  const late = withSending(async (raw) => {
    if (calls++ === 0) throw new Error("socket hang up");
    return client.sendRawTransaction({ serializedTransaction: raw });
  });
  const sender = openSender({ client: late });
  await token.write.approve([account.address, 5n]);
  const args = [funder.account.address, account.address, 5n] as const;
  const data = encodeFunctionData({ abi: openTokenAbi, functionName: "transferFrom", args });
  const id = await sender.send({ label: "A transfer", to: token.address, data });
  await token.write.approve([account.address, 0n]);
  await assert.rejects(sender.wait(id), { name: "TransactionFailed", message: /A transfer failed/ });
  await assert.rejects(sender.wait(id), { name: "TransactionFailed" }, "asked again, it is the same");
  assert.deepEqual(sender.pending(), []);
});
