import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { toHex as hexOf } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { openBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { emptyState } from "../../../operator/protocol/state.ts";
import { publishData } from "../../../operator/settlement/publication.ts";
import { stealOneWei } from "../../../scripts/demo/lie.ts";
import { cast, type Operator, openOperator, registerEverything } from "../../../scripts/stage/cast.ts";
import { readChainView } from "../../../scripts/stage/chain-view.ts";
import { serveJobs } from "../../../scripts/stage/jobs.ts";
import { serveChain } from "../../../scripts/stage/serve-chain.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const MNEMONIC = "test test test test test test test test test test test junk";
const WEI = 13;

describe("watching from the command line", () => {
  const home = mkdtempSync(join(tmpdir(), "openledger-watch-"));
  const published = join(home, "published");
  let stage: Stage;
  let chain: Awaited<ReturnType<typeof serveChain>>;
  let liar: Operator;

  before(async () => {
    stage = await openStage();
    chain = await serveChain(stage);
    writeFileSync(join(home, "addresses.json"), JSON.stringify(stage.deployment));
    const people = cast(stage);
    const registered = await registerEverything(stage, people);
    liar = await openOperator(stage, people.Mallory, [people.Paul]);
    const [registry, now] = [await readChainView(stage), await stage.now()];
    const windows = { ...stage.parameters.windows, settling: 0 };
    const times = { registryTime: now, submittedAt: now };
    const open = openBatch(emptyState(), {
      operator: liar.id,
      windows,
      separator: stage.separator,
      registry,
      ...times,
    });
    serveJobs(liar, registered, open, 5);
    const lie = stealOneWei(sealBatch(open, null, 1n), open.state, registered.contributions[0]);
    const { account } = liar.person;
    await stage.gasOf(stage.contracts.settlement.write.submitBatch([headerWitness(lie.header)], { account }));
    await publishData(published, lie.header.dataHash, lie.data);
  });
  after(async () => {
    chain.close();
    await stage.close();
    rmSync(home, { recursive: true });
  });

  async function run(...args: string[]) {
    const key = hexOf(mnemonicToAccount(MNEMONIC, { addressIndex: WEI }).getHdKey().privateKey!);
    const env = { ...process.env, OPENLEDGER_HOME: home, OPENLEDGER_PRIVATE_KEY: key };
    const shared = ["--rpc", chain.url, "--addresses", join(home, "addresses.json"), "--finality", "0", "--json"];
    const child = spawn(process.execPath, [LAUNCHER, ...args, "--data", published, ...shared], { env });
    const out = child.stdout.setEncoding("utf8").toArray();
    const err = child.stderr.setEncoding("utf8").toArray();
    const [code] = (await once(child, "close")) as [number];
    return { code, result: JSON.parse((await out).join("")), err: (await err).join("") };
  }

  const bond = () => stage.contracts.operators.read.bondOf([liar.id]);

  it("a lie is found and named, and costs nobody anything while it is not to be proven", async () => {
    const { code, result } = await run("watch", "--once");
    assert.deepEqual([code, result.what, result.verdict], [3, "lie", "wrongState"]);
    const verified = await run("verify", "batch", String(liar.id), "1");
    assert.deepEqual([verified.code, verified.result.valid, verified.result.verdict], [3, false, "wrongState"]);
    assert.equal(await bond(), stage.parameters.minimumBond);
  });

  it("with --prove the batch falls and the bond is gone", async () => {
    const { code, err } = await run("watch", "--once", "--prove");
    assert.equal(code, 3, err);
    assert.equal(await bond(), 0n);
    assert.equal((await stage.contracts.settlement.read.chainOf([liar.id])).tip, 0n);
  });
});
