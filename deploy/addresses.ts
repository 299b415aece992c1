import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Deployment } from "./deployment.ts";

const folder = new URL("./addresses/", import.meta.url);

const fileOf = (chainId: number) => new URL(`${chainId}.json`, folder);

/** Writes the one file per chain that the operator, the command line and the web page read; returns its path. */
export function writeAddresses(deployment: Deployment, path = fileURLToPath(fileOf(deployment.chainId))): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(deployment, null, 2)}\n`);
  return path;
}

/** @throws Error that says how to deploy, when nothing is known of the chain */
export function readAddresses(chainId: number): Deployment {
  const file = fileOf(chainId);
  if (!existsSync(file)) {
    throw new Error(`No contracts are known on chain ${chainId}: deploy them with npm run deploy -- --network NAME.`);
  }
  return JSON.parse(readFileSync(file, "utf8"));
}
