import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";

const hardhat = join(createRequire(import.meta.url).resolve("hardhat/package.json"), "..", "dist", "src", "cli.js");

/**
 * Compiles the contracts and prints what the compiler says of our own files; its warnings about packages help nobody
 * here. Compiles only what has changed.
 *
 * @param options.tests compile the Solidity tests and harnesses as well
 * @throws Error with the compiler's output when something does not compile
 */
export function buildContracts(options: { tests?: boolean } = {}): void {
  const args = [hardhat, "build", "--quiet", ...(options.tests ? [] : ["--no-tests"])];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const ours = `${stdout}\n${stderr}`
    .split(/\n\s*\n/)
    .filter((block) => !(block.trim().startsWith("Warning:") && block.includes("./node_modules/")))
    .join("\n\n")
    .trim();
  if (status !== 0) throw new Error(`The contracts do not compile:\n${ours}`);
  if (ours !== "") console.log(ours);
}
