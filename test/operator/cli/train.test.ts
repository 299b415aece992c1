import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { readAdapter } from "../../../operator/engine/model/adapter-folder.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { makeBatch } from "../../../operator/training/batch.ts";
import { GradientSession } from "../../../operator/training/gradient-session.ts";
import { InfluenceMeter } from "../../../operator/training/influence/influence-meter.ts";
import { recordAdapter } from "../../../operator/training/influence/record-documents.ts";
import { loadFactors } from "../../../operator/training/lora/adapter-weights.ts";
import { readManifest } from "../../../operator/training/manifest.ts";
import { readTrainableModel } from "../../../operator/training/model-folder.ts";
import { MODEL } from "../engine/worker/tiny-model.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "train-"));
after(() => rmSync(folder, { recursive: true }));

const net = join(folder, "net");
const pair = (prompt: string, completion: string): string => `${JSON.stringify({ prompt, completion })}\n`;
const ADA = Array.from({ length: 12 }, (_, i) => pair(`ask ${i}`, "yes yes yes"));
const BORIS = Array.from({ length: 12 }, (_, i) => pair(`say ${i}`, "no"));
before(() => {
  for (const [name, lines] of [["ada", ADA] as const, ["boris", BORIS] as const]) {
    mkdirSync(join(net, name), { recursive: true });
    writeFileSync(join(net, name, "pairs.jsonl"), lines.join(""));
  }
});

const argumentsFor = (out: string): string[] =>
  ["train", "--model", MODEL, "--data", net, "--out", out, "--rank", "4", "--learning-rate", "0.01"].concat([
    "--batch",
    "4",
    "--epochs",
    "6",
    "--threads",
    "1",
    "--checkpoint",
    "3",
    "--sketch",
    "16",
  ]);

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [LAUNCHER, ...args], { stdio: ["ignore", "pipe", "pipe"] });
}

async function run(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const child = start(args);
  const [out, err] = [child.stdout!, child.stderr!].map((stream) => stream.setEncoding("utf8").toArray());
  const code = await new Promise<number>((resolve) => child.on("close", resolve));
  return { code, out: (await out).join(""), err: (await err).join("") };
}

describe("openledger train", () => {
  const whole = join(folder, "whole");

  it("writes an adapter that the engine reads, with its lineage", async () => {
    const { code, out, err } = await run([...argumentsFor(whole), "--json"]);
    assert.equal(code, 0, err);
    const report = JSON.parse(out);
    const { config } = readTrainableModel(MODEL);
    assert.equal(readAdapter(whole, config).hash, report.adapterHash);
    assert.equal(report.manifestHash, toHex(keccak(readFileSync(join(whole, "lineage.json")))));
    const manifest = readManifest(join(whole, "lineage.json"));
    assert.equal(manifest.adapterHash, report.adapterHash);
    assert.deepEqual(
      manifest.dataNets[0].contributions.map(({ contributor }) => contributor),
      ["ada", "boris"],
    );
    assert.equal(manifest.documents.length + manifest.evaluation.documents.length, 24);
    assert.ok(report.lossAfter < 0.5 * report.lossBefore, `${report.lossBefore} to ${report.lossAfter}`);
    assert.ok(!existsSync(join(whole, ".training")), "checkpoints are gone when the work is done");
  });

  it("moves the engine's answers to what the documents say", async () => {
    const score = async (...adapter: string[]): Promise<number> => {
      const asked = ["engine", "score", "--model", MODEL, "--context", "say 99", "--continuation", "no", "--exact"];
      const { code, out, err } = await run([...asked, "--quant", "f32", "--json", ...adapter]);
      assert.equal(code, 0, err);
      return JSON.parse(out).logprob;
    };
    const adapted = await score("--adapter", whole);
    assert.ok(adapted > (await score()) + 1);
    // What was trained is what is served.
    const { config, tokenizer, weights } = readTrainableModel(MODEL);
    const plan = readManifest(join(whole, "lineage.json")).settings.lora;
    const lora = { ...loadFactors(whole, config, plan), plan };
    const session = new GradientSession({ config, base: weights, lora, threads: 1 });
    const context = tokenizer.encode("say 99");
    const tokens = Int32Array.from([...context, ...tokenizer.encode("no", { special: false })]);
    const row = { tokens, weights: new Float32Array(tokens.length).fill(1, context.length) };
    const { loss } = await session.predict(makeBatch({ rows: 1, length: tokens.length }, [row]));
    assert.ok(Math.abs(adapted + loss) < 1e-4, `engine ${adapted}, training ${-loss}`);
    await session.close();
  });

  it("goes on after it was killed, to the same bytes", async () => {
    const out = join(folder, "killed");
    const child = start(argumentsFor(out));
    const exited = new Promise((resolve) => child.on("exit", resolve));
    while (!existsSync(join(out, ".training", "checkpoint.safetensors")) && child.exitCode === null)
      await setTimeout(5);
    assert.ok(child.kill("SIGKILL"), "it was still at work");
    await exited;
    assert.ok(!existsSync(join(out, "lineage.json")));
    assert.equal((await run(argumentsFor(out))).code, 0);
    for (const file of ["adapter_model.safetensors", "lineage.json", "influence.safetensors"]) {
      assert.deepEqual(readFileSync(join(out, file)), readFileSync(join(whole, file)), file);
    }
  });

  it("records sketches that can be made again from the documents, and that tell whose documents helped", async () => {
    const recorded = readFileSync(join(whole, "influence.safetensors"));
    await recordAdapter({ model: MODEL, adapter: whole, dataNets: [net], sketch: 16, threads: 1 });
    assert.deepEqual(readFileSync(join(whole, "influence.safetensors")), recorded);
    const meter = new InfluenceMeter(MODEL, whole, 1);
    const { tokenizer, end } = readTrainableModel(MODEL);
    const prompt = tokenizer.encode("say 50");
    const answer = [...tokenizer.encode("no", { special: false }), end];
    const tokens = Int32Array.from([...prompt, ...answer]);
    const weights = new Float32Array(tokens.length).fill(1, prompt.length);
    const [ada, boris] = await meter.contributions({ tokens, weights });
    for (const measure of ["dataInf", "cosine", "product"] as const) assert.ok(boris[measure] > ada[measure], measure);
    await meter.close();
  });

  it("refuses documents that are not those of the lineage", async () => {
    const changed = join(folder, "changed");
    mkdirSync(join(changed, "ada"), { recursive: true });
    writeFileSync(join(changed, "ada", "pairs.jsonl"), ADA.slice(1).join(""));
    const again = { model: MODEL, adapter: whole, sketch: 16, threads: 1 };
    await assert.rejects(recordAdapter({ ...again, dataNets: [changed] }), /does not hold what the adapter's lineage/);
  });

  it("says what is wrong with its arguments and data", async () => {
    const missing = await run(["train", "--model", MODEL, "--data", join(folder, "none"), "--out", whole]);
    assert.equal(missing.code, 1);
    assert.match(missing.err, /none is not a folder/);
    const wrong = await run([...argumentsFor(whole), "--targets", "q,zz"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /zz is not one of q_proj/);
    assert.equal((await run([...argumentsFor(whole), "--epochs", "0"])).code, 2);
  });
});
