import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { network } from "hardhat";
import { createPublicClient, http } from "viem";
import { checkDeployment } from "../../deploy/check-deployment.ts";
import { deployOpenLedger } from "../../deploy/deployment.ts";
import { networks } from "../../deploy/networks.ts";

async function deployHere(name: string) {
  const target = networks.find((candidate) => candidate.name === name)!;
  const connection = await network.create({ network: "local", override: { chainId: target.chainId } });
  const [deployer, holder, proposer, treasury] = (await connection.viem.getWalletClients()).map(
    (c) => c.account.address,
  );
  const roles = { deployer, holder, proposer, treasury };
  const deployment = await deployOpenLedger(connection, target, roles);
  return { connection, target, roles, deployment };
}

describe("deployment", () => {
  for (const { name, main } of networks) {
    test(`${name}: its parameters deploy, and every immutable reads back`, async () => {
      const { connection, deployment, target, roles } = await deployHere(name);
      assert.ok((await checkDeployment(connection, deployment, target, roles)) >= 48);
      assert.equal(deployment.contracts.faucet === undefined, main, "a faucet exists on test networks only");
      await connection.close();
    });
  }

  test("the check names what differs", async () => {
    const { connection, deployment, target, roles } = await deployHere("local");
    const shorter = { ...target, windows: { ...target.windows, challenge: target.windows.challenge - 1 } };
    await assert.rejects(checkDeployment(connection, deployment, shorter, roles), /AttributionSettlement\.CHALLENGE/);
    const other = { ...roles, treasury: roles.proposer };
    await assert.rejects(checkDeployment(connection, deployment, target, other), /ProtocolParameters\.treasury/);
    const swapped = { ...deployment, contracts: { ...deployment.contracts, channels: deployment.contracts.operators } };
    await assert.rejects(checkDeployment(connection, swapped, target, roles));
    await connection.close();
  });

  test("the faucet refuses a main network", async () => {
    const connection = await network.create({ network: "local", override: { chainId: 1612 } });
    const token = await connection.viem.deployContract("OpenToken", ["0x0000000000000000000000000000000000000001"]);
    await assert.rejects(connection.viem.deployContract("TestFaucet", [token.address, 1n]), /Faucet_MainNetwork/);
    await connection.close();
  });
});

describe("npm run deploy", () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-deploy-"));
  const journal = `test-${process.pid}`;
  const deployer = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
  let node: ChildProcess;
  let url: string;

  async function startChain(): Promise<void> {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    node = spawn("npx", ["hardhat", "node", "--hostname", "127.0.0.1", "--port", `${port}`], { detached: true });
    await new Promise<void>((resolve, reject) => {
      node.stdout!.on("data", (data) => String(data).includes("Started") && resolve());
      node.once("exit", (code) => reject(new Error(`hardhat node ended with ${code}`)));
    });
  }

  async function stopChain(): Promise<void> {
    const ended = new Promise((resolve) => node.once("exit", resolve));
    process.kill(-node.pid!, "SIGKILL");
    await ended;
  }

  before(startChain);

  after(async () => {
    await stopChain();
    rmSync(folder, { recursive: true, force: true });
    rmSync(new URL(`../../deploy/deployments/${journal}`, import.meta.url), { recursive: true, force: true });
  });

  function start(...args: string[]): ChildProcess {
    const options = ["deploy/deploy.ts", "--network", "localhost", "--journal", journal, ...args];
    return spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...options], {
      env: { ...process.env, LOCALHOST_RPC_URL: url },
    });
  }

  test("killed half way, it goes on where it stopped and deploys nothing twice", { timeout: 120_000 }, async () => {
    const client = createPublicClient({ transport: http(url), pollingInterval: 20 });
    const sent = () => client.getTransactionCount({ address: deployer });

    const first = start();
    while ((await sent()) < 5) await new Promise((resolve) => setTimeout(resolve, 20));
    first.kill("SIGKILL");
    await new Promise((resolve) => first.once("close", resolve));
    const half = await sent();

    const out = join(folder, "addresses.json");
    const second = start("--out", out);
    let errors = "";
    second.stderr!.on("data", (data) => (errors += data));
    second.stdout!.resume();
    assert.equal(await new Promise((resolve) => second.once("close", resolve)), 0, errors);

    // 13 contracts and the faucet, three calls that wire them, and one that fills the faucet.
    assert.equal(await sent(), 18, `${half} transactions before the kill`);
    const { contracts, fromBlock } = JSON.parse(readFileSync(out, "utf8"));
    for (const address of Object.values<`0x${string}`>(contracts)) assert.ok(await client.getCode({ address }));
    assert.equal(fromBlock, 1);
  });

  test("the journal of a local chain that is gone is dropped", { timeout: 120_000 }, async () => {
    await stopChain();
    await startChain();
    const out = join(folder, "again.json");
    const again = start("--out", out);
    again.stdout!.resume();
    let errors = "";
    again.stderr!.on("data", (data) => (errors += data));
    assert.equal(await new Promise((resolve) => again.once("close", resolve)), 0, errors);
    assert.match(errors, /a local chain that is gone/);
    const { token } = JSON.parse(readFileSync(out, "utf8")).contracts;
    assert.ok(await createPublicClient({ transport: http(url) }).getCode({ address: token }));
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
