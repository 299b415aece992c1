import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { AdamW } from "../../../operator/training/optimizer.ts";
import { ParameterLayout } from "../../../operator/training/parameters.ts";
import { learningRate } from "../../../operator/training/schedule.ts";
import { runTiny } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "training-"));
after(() => rmSync(folder, { recursive: true }));

describe("train", () => {
  it("lowers the loss", async () => {
    const losses: number[] = [];
    await runTiny({ steps: 40, onStep: ({ loss }) => void losses.push(loss) });
    assert.ok(losses[39] < 0.5 * losses[0], `${losses[0]} to ${losses[39]}`);
  });

  it("gives the same bits when it is stopped and resumed as when it runs through", async () => {
    const through = await runTiny({ steps: 12 });
    const path = join(folder, "stopped.safetensors");
    const stop = new AbortController();
    await runTiny({ steps: 12, path, signal: stop.signal, onStep: ({ step }) => step === 5 && stop.abort() });
    const resumed: number[] = [];
    const values = await runTiny({ steps: 12, path, onStep: ({ step }) => void resumed.push(step) });
    assert.deepEqual(resumed, [6, 7, 8, 9, 10, 11, 12]);
    assert.deepEqual(values, through);
  });

  it("keeps Muon's momentum over a stop, and learns with it", async () => {
    const muon = { momentum: 0.95, weightDecay: 0.1 };
    const losses: number[] = [];
    const through = await runTiny({ steps: 60, muon, onStep: ({ loss }) => void losses.push(loss) });
    assert.ok(losses[59] < 0.5 * losses[0], `${losses[0]} to ${losses[59]}`);
    const path = join(folder, "muon.safetensors");
    const stop = new AbortController();
    await runTiny({ steps: 60, muon, path, signal: stop.signal, onStep: ({ step }) => step === 7 && stop.abort() });
    assert.deepEqual(await runTiny({ steps: 60, muon, path }), through);
    assert.notDeepEqual(await runTiny({ steps: 60 }), through);
  });

  it("gives the same bits after the process was killed at any moment", async () => {
    const through = await runTiny({ steps: 30 });
    const path = join(folder, "killed.safetensors");
    const script = fileURLToPath(new URL("tiny-run.ts", import.meta.url));
    let kills = 0;
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [script, path, "30"], { stdio: "ignore" });
      const exited = new Promise((resolve) => child.on("exit", resolve));
      const before = existsSync(path) ? readFileSync(path).toString("latin1").length : 0;
      // Killed once it has written a checkpoint of its own.
      for (let wait = 0; wait < 400 && !(existsSync(path) && before === 0) && child.exitCode === null; wait++) {
        await setTimeout(25);
        if (before > 0 && wait > 30) break;
      }
      if (child.kill("SIGKILL")) kills++;
      await exited;
    }
    assert.ok(kills > 0);
    assert.deepEqual(await runTiny({ steps: 30, path }), through);
  });

  it("refuses the checkpoint of another run", async () => {
    const path = join(folder, "other.safetensors");
    await runTiny({ steps: 2, path });
    await assert.rejects(runTiny({ steps: 2, path, run: "another" }), /other data or settings/);
  });

  it("gives other weights with another seed", async () => {
    assert.notDeepEqual(await runTiny({ steps: 3, seed: 1 }), await runTiny({ steps: 3, seed: 2 }));
  });
});

describe("learningRate", () => {
  const schedule = { peak: 2, warmup: 4, steps: 104, floor: 0.1 };
  it("rises in a line, ends at the floor and is half way in the middle", () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((step) => learningRate(schedule, step)),
      [0.5, 1, 1.5, 2],
    );
    assert.ok(Math.abs(learningRate(schedule, 103) - 0.2) < 1e-12);
    assert.ok(Math.abs(learningRate({ ...schedule, steps: 105 }, 54) - 1.1) < 1e-12);
  });
});

describe("AdamW", () => {
  it("follows the published update on matrices, and does not decay vectors", () => {
    const layout = new ParameterLayout([
      ["matrix", [1, 1]],
      ["vector", [1]],
    ]);
    const optimizer = new AdamW(layout, { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.5 });
    const values = Float32Array.of(1, 1);
    let [m, v] = [0, 0];
    let [matrix, vector] = [1, 1];
    for (const [i, g] of [0.5, -0.25, 1].entries()) {
      optimizer.update(values, Float32Array.of(g, g), i + 1, 0.1, 1);
      m = 0.9 * m + 0.1 * g;
      v = 0.99 * v + 0.01 * g * g;
      const move = (0.1 * (m / (1 - 0.9 ** (i + 1)))) / (Math.sqrt(v / (1 - 0.99 ** (i + 1))) + 1e-8);
      matrix = matrix - 0.1 * 0.5 * matrix - move;
      vector -= move;
    }
    assert.ok(Math.abs(values[0] - matrix) < 1e-6);
    assert.ok(Math.abs(values[1] - vector) < 1e-6);
  });
});
