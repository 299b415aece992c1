import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import hre from "hardhat";
import { abiFiles } from "../../../scripts/abi.ts";

test("the ABIs are those of the contracts as they compile now; scripts/abi.ts writes them", async () => {
  await hre.tasks.getTask("build").run({ quiet: true, noTests: true });
  for (const { path, text } of await abiFiles()) assert.equal(readFileSync(path, "utf8"), text, path.pathname);
});
