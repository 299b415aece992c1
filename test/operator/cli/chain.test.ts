import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Hex, parseEther } from "viem";
import { generatePrivateKey, mnemonicToAccount, privateKeyToAddress } from "viem/accounts";
import { ContentFetcher } from "../../../operator/chain/content.ts";
import type { ChainReader } from "../../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { openBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { collectWitness } from "../../../operator/protocol/claims.ts";
import { headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { earnedBy, emptyState } from "../../../operator/protocol/state.ts";
import { publishData } from "../../../operator/settlement/publication.ts";
import { cast, openOperator, registerEverything } from "../../../scripts/stage/cast.ts";
import { serveJobs } from "../../../scripts/stage/jobs.ts";
import { serveChain } from "../../../scripts/stage/serve-chain.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";
import { temporaryFolder } from "../engine/adapters/tiny-adapter.ts";
import { adapter as tinyAdapter } from "../engine/worker/tiny-model.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "openledger-"));
const key = generatePrivateKey();
const address = privateKeyToAddress(key);
let stage: Stage;
let chain: Awaited<ReturnType<typeof serveChain>>;
let environment: Record<string, string>;

before(async () => {
  stage = await openStage();
  chain = await serveChain(stage);
  const addresses = join(home, "addresses.json");
  writeFileSync(addresses, JSON.stringify(stage.deployment));
  environment = { OPENLEDGER_HOME: home, OPENLEDGER_RPC: chain.url, OPENLEDGER_ADDRESSES: addresses };
  await stage.connection.networkHelpers.setBalance(address, parseEther("10"));
  await stage.gasOf(stage.contracts.token.write.transfer([address, parseEther("100")]));
});
after(async () => {
  chain.close();
  await stage.close();
});

type Extra = Record<string, string | undefined>;

async function run(args: readonly string[], extra: Extra = { OPENLEDGER_PRIVATE_KEY: key }) {
  const env = { ...process.env, ...environment, ...extra };
  const child = spawn(process.execPath, [LAUNCHER, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = [child.stdout, child.stderr].map((stream) => stream.setEncoding("utf8").toArray());
  const code = await new Promise<number>((resolve) => child.on("close", resolve));
  return { code, out: (await out).join(""), err: (await err).join("") };
}

/** Runs a command that has to go well and gives its JSON. */
async function json(args: readonly string[], extra?: Extra) {
  const { code, out, err } = await run([...args, "--json"], extra);
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

test("a wallet is kept encrypted, and signs when its password is given", async () => {
  const keystore = join(home, "mine.json");
  const file = { OPENLEDGER_KEYSTORE: keystore, OPENLEDGER_PASSWORD: "correct horse" };
  const imported = await json(["wallet", "import"], { ...file, OPENLEDGER_PRIVATE_KEY: key });
  assert.equal(imported.address, address);
  const text = readFileSync(keystore, "utf8");
  assert.equal(JSON.parse(text).version, 3);
  assert.ok(!text.includes(key.slice(2)));
  const again = await run(["wallet", "new"], file);
  assert.deepEqual([again.code, /exists; nothing was changed/.test(again.err)], [1, true]);
  assert.equal(readFileSync(keystore, "utf8"), text);
  const balance = await json(["wallet", "balance"], { OPENLEDGER_KEYSTORE: keystore });
  assert.deepEqual([balance.address.toLowerCase(), balance.open], [address.toLowerCase(), "100"]);

  const wrong = await run(["wallet", "drip"], { ...file, OPENLEDGER_PASSWORD: "wrong horse" });
  assert.deepEqual([wrong.code, /password does not open/.test(wrong.err)], [1, true], wrong.err);
  await stage.gasOf(stage.contracts.token.write.transfer([stage.deployment.contracts.faucet!, parseEther("20000")]));
  const dripped = await json(["wallet", "drip"], file);
  assert.ok(Number(dripped.received) > 0);
  const twice = await run(["wallet", "drip"], file);
  assert.equal(twice.code, 1);
  assert.match(twice.err, /Faucet_TooEarly/, "the contract's own error is named");
});

test("everything is registered from files, and can be fetched and verified from where it was published", async () => {
  const work = mkdtempSync(join(tmpdir(), "work-"));
  const shared = join(work, "published");
  const file = (name: string, text: string) => {
    writeFileSync(join(work, name), text);
    return join(work, name);
  };
  const common = ["--licence", "MIT", "--publish", shared];
  const charter = file("charter.md", "All about rivers.");
  const net = await json(["register", "datanet", charter, "--name", "Rivers", ...common]);
  const documents = join(work, "documents");
  mkdirSync(join(documents, "deep"), { recursive: true });
  writeFileSync(join(documents, "a.md"), "The Rhine floods in spring.");
  writeFileSync(join(documents, "deep", "b.txt"), "Salmon came back.");
  writeFileSync(join(documents, ".hidden"), "not this");
  const data = await json(["register", "data", documents, "--datanet", `${net.id}`, ...common]);
  assert.deepEqual([data.documents, data.bytes], [2, 44]);
  await json(["datanet", "accept", `${data.id}`]);
  assert.equal((await json(["datanet", "publish", `${net.id}`])).version, 1);

  const folder = tinyAdapter(1, 8);
  const baseModel = `0x${"ab".repeat(32)}`;
  const trained = ["--base-model", baseModel, "--trained-on", `${net.id}@1`, "--payee", `${address}=100`];
  const adapter = await json(["register", "adapter", folder, "--name", "Hydrology", ...trained, ...common]);
  assert.equal(adapter.version, 1);
  const template = file("prompt.txt", "Answer: {{ question }}");
  const prompt = await json(["register", "prompt", template, "--name", "Terse", "--variable", "question", ...common]);
  const manifest = file("tool.json", "{}");
  const endpoint = ["--endpoint", "https://gauge.example/mcp"];
  const tool = await json(["register", "tool", manifest, "--name", "Gauge", ...endpoint, ...common]);
  const composition = {
    baseModel,
    prices: { job: "0.001", promptToken: "0.000001", completionToken: "0.000004" },
    split: { operator: 30, publisher: 10, adapters: 12.5, prompt: 7.5, context: 30, training: 5, tool: 5 },
    emptyPools: { tool: "publisher" },
    prompt: `${prompt.id}@1`,
    adapters: [{ pin: `${adapter.id}@1`, share: 100 }],
    dataNets: [`${net.id}@1`],
    tools: [`${tool.id}@1`],
  };
  const path = file("agent.json", JSON.stringify(composition));
  const agent = await json(["register", "agent", path, "--name", "river-guide", ...common]);
  const cheaper = file("cheaper.json", JSON.stringify({ ...composition, prices: { ...composition.prices, job: "0" } }));
  const next = ["--name", "river-guide", "--new-version-of", `${agent.id}`, "--licence", "MIT"];
  assert.equal((await json(["register", "agent", cheaper, ...next])).version, 2);

  const reader = stage.client as unknown as ChainReader;
  const mirror = new RegistryMirror({ file: ":memory:", reader, deployment: stage.deployment, confirmations: 0 });
  await mirror.sync();
  assert.equal(mirror.agentByName("river-guide")!.head, 2);
  const pinned = mirror.composition(agent.id, 1)!;
  assert.equal(pinned.split.adapters, 125_000);
  assert.equal(pinned.pricePerJob, parseEther("0.001"));
  assert.equal(mirror.composition(agent.id, 2)!.pricePerJob, 0n);
  assert.deepEqual(mirror.contributionsOf(net.id, 1), [data.id]);
  assert.deepEqual(mirror.payeesOf(adapter.id), [{ account: address, sharePpm: 1_000_000 }]);
  assert.deepEqual({ ...mirror.lineage(adapter.id, 1, 0) }, { dataNet: net.id, version: 1 });

  const content = new ContentFetcher({ cache: temporaryFolder(), folders: [shared], ipfsGateways: [] });
  const at = (id: number) => mirror.contentOf(id)!;
  const got = await content.folder(at(data.id).contentHash, [at(data.id).uri]);
  assert.deepEqual(got.files.map(({ path }) => path).sort(), ["a.md", "deep/b.txt"]);
  const template2 = await content.bytes(at(prompt.id).contentHash, [at(prompt.id).uri]);
  assert.equal(new TextDecoder().decode(template2), "Answer: {{ question }}");
  await content.adapter(at(adapter.id).contentHash, [at(adapter.id).uri]);
  for (const id of [net.id, tool.id, agent.id]) await content.file(at(id).contentHash, [at(id).uri]);
});

test("a composition that nobody could serve is refused before anything is sent", async () => {
  const path = join(home, "wrong.json");
  const prices = { job: "0.001", promptToken: "0", completionToken: "0" };
  const register = async (composition: object) => {
    writeFileSync(path, JSON.stringify({ baseModel: `0x${"ab".repeat(32)}`, prices, ...composition }));
    return run(["register", "agent", path, "--name", "x", "--licence", "MIT", "--uri", "https://x.example"]);
  };
  const nonce = await stage.client.getTransactionCount({ address });
  assert.match((await register({ split: { operator: 99 } })).err, /split does not sum/);
  assert.match((await register({ split: { operator: 60, tool: 40 } })).err, /share for tools, but no tool/);
  assert.match((await register({ split: { operator: 100 }, tols: [] })).err, /no field tols/);
  assert.match(
    (await register({ split: { operator: 100 }, prompt: "five" })).err,
    /prompt must be an id and a version/,
  );
  assert.equal(await stage.client.getTransactionCount({ address }), nonce);
  const { code, err } = await register({ split: { operator: 100 }, dataNets: ["999@1"] });
  assert.equal(code, 1);
  assert.match(err, /has no version yet: go on with --new-version-of \d+\.\n.*Agent_UnknownVersion\(.*999, 1\)/s);
});

test("a channel is opened with a session key of its own, funded, and closed after its thaw", async () => {
  await stage.gasOf(stage.contracts.operators.write.register(["https://one.example", address]));
  const operator = await stage.contracts.operators.read.operatorCount();
  const secret = { OPENLEDGER_PRIVATE_KEY: key, OPENLEDGER_PASSWORD: "correct horse" };
  const before = await stage.contracts.token.read.balanceOf([address]);
  const opened = await json(["channel", "open", "--operator", `${operator}`, "--amount", "2.5"], secret);
  const id = `${opened.channel}`;
  const keystore = JSON.parse(readFileSync(opened.keystore, "utf8"));
  assert.equal(`0x${keystore.address}`, opened.sessionKey.toLowerCase());
  const [, sessionKey] = await stage.contracts.channels.read.channelOf([opened.channel]);
  assert.equal(sessionKey, opened.sessionKey);
  assert.equal((await json(["channel", "fund", id, "0.5"])).deposit, "3");
  assert.equal((await json(["channel", "show", id])).left, "3");
  const thawing = await json(["channel", "close", id]);
  assert.deepEqual([thawing.state, thawing.amount], ["thawing", "3"]);
  assert.equal((await json(["channel", "close", id])).state, "thawing", "asked too early, it changes nothing");
  await stage.wait(stage.parameters.windows.thaw);
  await stage.connection.networkHelpers.mine();
  assert.equal((await json(["channel", "close", id])).withdrawn, "3");
  assert.equal(await stage.contracts.token.read.balanceOf([address]), before);
  assert.equal((await json(["channel", "close", id])).state, "empty");
});

test("earnings are rebuilt from published data and claimed to the wei", async () => {
  const people = cast(stage);
  const registered = await registerEverything(stage, people);
  const operator = await openOperator(stage, people.Olga, [people.Paul]);
  const reader = stage.client as unknown as ChainReader;
  const mirror = new RegistryMirror({ file: ":memory:", reader, deployment: stage.deployment, confirmations: 0 });
  await mirror.sync();
  const now = await stage.now();
  const windows = { ...stage.parameters.windows, settling: 0 };
  const { separator } = stage;
  const context = { operator: operator.id, registryTime: now, submittedAt: now, windows, separator, registry: mirror };
  const batch = openBatch(emptyState(), context);
  serveJobs(operator, registered, batch, 12);
  const sealed = sealBatch(batch, null, 1n);
  const { settlement, channels, token } = stage.contracts;
  const account = people.Olga.account;
  await stage.gasOf(settlement.write.submitBatch([headerWitness(sealed.header)], { account }));
  const published = temporaryFolder();
  await publishData(published, sealed.header.dataHash, sealed.data);

  // Ada owns the DataNet and one contribution; the wallets of the local chain are those of its well-known phrase.
  const phrase = "test test test test test test test test test test test junk";
  const { source } = Object.values(people).reduce(
    (found, person, i) => (person === people.Ada ? { source: i + 2 } : found),
    { source: -1 },
  );
  const adas = mnemonicToAccount(phrase, { addressIndex: source });
  assert.equal(adas.address.toLowerCase(), people.Ada.account.address.toLowerCase());
  const ada = { OPENLEDGER_PRIVATE_KEY: `0x${Buffer.from(adas.getHdKey().privateKey!).toString("hex")}` as Hex };
  const books = ["--data", published, "--finality", "0"];
  assert.deepEqual((await json(["earnings", ...books], ada)).entries, [], "nothing is earned before it is final");

  await stage.wait(stage.parameters.windows.challenge + 1);
  await stage.gasOf(settlement.write.finalize([operator.id, 1n]));
  const ids = operator.channels.map(({ channel }) => channel);
  const { header, collections, siblings, bitmap } = collectWitness(sealed.header, batch.state, ids);
  await stage.gasOf(channels.write.collect([header, collections, siblings, bitmap]));

  const [contribution] = registered.contributions;
  const due = earnedBy(batch.state, contribution);
  assert.ok(due > 0n);
  const shown = await json(["earnings", ...books], ada);
  assert.deepEqual(
    shown.entries.map(({ id, earned, claimed }: Record<string, unknown>) => [id, parseEther(`${earned}`), claimed]),
    [[contribution, due, "0"]],
  );
  const before = await token.read.balanceOf([adas.address]);
  const claimed = await json(["claim", ...books], ada);
  assert.equal(parseEther(claimed.paid), due);
  assert.equal((await token.read.balanceOf([adas.address])) - before, due);
  assert.equal((await json(["earnings", ...books], ada)).due, "0");
  assert.deepEqual((await json(["claim", ...books], ada)).transactions, []);

  const lost = await run(["earnings", "--data", temporaryFolder(), "--finality", "0"], {
    ...ada,
    OPENLEDGER_HOME: temporaryFolder(),
  });
  assert.equal(lost.code, 1);
  assert.match(lost.err, /not in a folder|cannot be read/);
});

test("what is wrong is said in a sentence, and exit codes tell use from failure", async () => {
  const nobody = await run(["wallet", "balance", "--rpc", "http://127.0.0.1:1"]);
  assert.deepEqual([nobody.code, nobody.err], [1, "openledger: No chain answers at http://127.0.0.1:1.\n"]);
  const usage = await run(["channel", "open", "--operator", "x", "--amount", "1"]);
  assert.deepEqual([usage.code, /whole number above 0/.test(usage.err)], [2, true]);
  const unknown = await run(["channel", "show", "999"]);
  assert.deepEqual([unknown.code, unknown.err], [1, "openledger: There is no channel 999.\n"]);
  const foreign = await run(["datanet", "publish", "9999"]);
  assert.equal(foreign.code, 1);
  assert.match(foreign.err, /DataNet_Unknown\(9999\)/);
  const none = await run(["register", "prompt", LAUNCHER, "--name", "x", "--licence", "MIT"], {});
  assert.match(none.err, /--uri, or --publish/);
  const walletless = await run(["datanet", "publish", "1"], {});
  assert.match(walletless.err, /There is no wallet at .*openledger wallet new/);
});
