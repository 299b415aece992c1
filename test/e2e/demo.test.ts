import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const DEMO = fileURLToPath(new URL("../../scripts/demo/main.ts", import.meta.url));
const JOBS = 12;
const OPEN = 10n ** 18n;

/** What `npm run demo -- --json` prints; amounts are decimal text. */
interface Figures {
  jobs: number;
  exactAnswers: number;
  completionTokens: number;
  gas: Record<string, number | string>;
  gasPerJob: number;
  wei: Record<"receipts" | "payers" | "collected" | "received" | "operator" | "treasury", string>;
  contributorsPaid: number;
  differences: Record<string, string>;
  verified: boolean;
  checked: string[];
  fraud: { verdict: string; receipt: number; reward: string; burned: string };
}

describe("the demo, in a short form", () => {
  let code: number | null;
  let told: string;
  let figures: Figures;

  before(async () => {
    const args = ["--disable-warning=ExperimentalWarning", DEMO, "--json", "--jobs", String(JOBS)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    code = await closed;
    told = err;
    assert.ok(out.startsWith("{"), `nothing came of it (exit code ${code}):\n${err}`);
    figures = JSON.parse(out);
  });

  it("ends well, with one JSON object on standard output and the story beside it", () => {
    assert.equal(code, 0, told);
    assert.match(told, /^\n1\. .*\n7\. .*All of it in .* to the wei\n$/s);
  });

  it("answers and charges every question, and says to the letter what documents say", () => {
    assert.equal(figures.jobs, JOBS);
    assert.ok(figures.completionTokens >= JOBS);
    assert.ok(figures.exactAnswers > 0, `none of ${JOBS} answers was right`);
    assert.ok(BigInt(figures.wei.receipts) > 0n);
  });

  it("adds up to the wei between receipts, payers, channels and wallets", () => {
    const { receipts, payers, collected, received, operator, treasury } = figures.wei;
    assert.deepEqual([payers, collected, received], [receipts, receipts, receipts]);
    assert.deepEqual(
      Object.values(figures.differences),
      Object.values(figures.differences).map(() => "0"),
    );
    assert.ok(BigInt(operator) > 0n && BigInt(treasury) > 0n);
    assert.ok(BigInt(operator) + BigInt(treasury) < BigInt(received), "most goes to those who contributed");
    assert.ok(figures.contributorsPaid >= 3);
  });

  it("has the node's own watcher prove a liar's lie, and half of the bond burned", () => {
    const { verdict, reward, burned } = figures.fraud;
    assert.equal(verdict, "wrongState");
    assert.equal(reward, burned);
    assert.equal(BigInt(reward) + BigInt(burned), 1_000n * OPEN);
  });

  it("has one answer measured again by somebody else, with the model run again", () => {
    assert.ok(figures.verified);
    for (const what of ["batch", "registry", "request and answer", "scores"]) {
      assert.ok(figures.checked.includes(what), `${what} was not checked`);
    }
  });

  it("says what each step of settling has cost", () => {
    for (const step of ["submitBatch", "finalize", "collect", "claim", "claimTreasury", "claimOperator"]) {
      assert.ok(Number(figures.gas[step]) > 20_000, step);
    }
  });
});
