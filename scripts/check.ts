// Every check of the repository, in the order in which it is cheapest to fail. `npm test` runs all of them;
// `npm test -- types contracts` only those named. Ends with the test runner's own closing lines.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { buildContracts } from "./build-contracts.ts";

type Stage = { name: string; what: string; run: () => boolean };

function sh(program: string, ...args: string[]): boolean {
  const { status, error } = spawnSync(program, args, { stdio: "inherit" });
  if (error) throw error;
  return status === 0;
}

const node = (...args: string[]) => sh(process.execPath, "--disable-warning=ExperimentalWarning", ...args);

function build(): boolean {
  try {
    buildContracts({ tests: true });
    return true;
  } catch (error) {
    console.error((error as Error).message);
    return false;
  }
}

const stages: Stage[] = [
  { name: "lock", what: "package-lock.json is complete", run: () => node("scripts/lock-check.js") },
  {
    name: "lint",
    what: "format and lint",
    run: () =>
      sh("biome", "check", "--error-on-warnings") &&
      sh("prettier", "--check", "--log-level", "warn", "contracts/**/*.sol", "test/**/*.sol"),
  },
  { name: "contracts-build", what: "contracts and their tests compile (minutes, when they changed)", run: build },
  { name: "types", what: "type check", run: () => sh("tsc", "-p", ".") },
  { name: "exports", what: "every export is used", run: () => node("scripts/unused-exports.ts") },
  {
    name: "contracts",
    what: "Solidity tests: unit, fuzz, invariants, gas snapshots",
    run: () => sh("hardhat", "test", "solidity", "--snapshot-check"),
  },
  {
    name: "typescript",
    what: "TypeScript tests",
    // Forced: a test that ran out of time may leave something that waits for ever, and nothing after it would run.
    run: () => node("--test", "--test-timeout=600000", "--test-force-exit", ...globSync("test/**/*.test.ts").sort()),
  },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !stages.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.error(`No stage ${unknown.join(", ")}. There are: ${stages.map((stage) => stage.name).join(", ")}.`);
  process.exit(2);
}
for (const { name, what, run } of stages) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const started = performance.now();
  console.log(`\n== ${name}: ${what}`);
  if (!run()) {
    console.error(`\n${name} failed: ${what}. Run it alone with: npm test -- ${name}`);
    process.exit(1);
  }
  if (name !== "typescript") console.log(`   ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
