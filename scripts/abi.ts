// Writes operator/chain/abi/*.ts from the compiled contracts: what viem needs to type every call.
import { mkdirSync, writeFileSync } from "node:fs";
import hre, { artifacts } from "hardhat";

/** The contracts that the node and the command line talk to. */
const CONTRACTS = [
  "AdapterRegistry",
  "AgentRegistry",
  "AttributionSettlement",
  "DataNetRegistry",
  "IdAllocator",
  "OpenToken",
  "OperatorRegistry",
  "PaymentChannels",
  "PromptRegistry",
  "ProtocolParameters",
  "TestFaucet",
  "ToolRegistry",
];

const folder = new URL("../operator/chain/abi/", import.meta.url);

/** Path and text of every ABI file, from the artifacts as they are; does not write. */
export async function abiFiles(): Promise<{ path: URL; text: string }[]> {
  return Promise.all(
    CONTRACTS.map(async (name) => {
      const { abi } = await artifacts.readArtifact(name);
      // What Solidity calls the types is of no use to TypeScript, and half of the text.
      const entries = (abi as readonly object[]).map((entry) =>
        JSON.stringify(entry, (key, value) => (key === "internalType" ? undefined : value)),
      );
      const constant = `${name[0].toLowerCase()}${name.slice(1)}Abi`;
      const file = name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
      const text = [
        `// Written by scripts/abi.ts from ${name}.sol.`,
        "// biome-ignore format: one line for each entry",
        `export const ${constant} = [`,
        ...entries.map((entry) => `  ${entry},`),
        "] as const;",
        "",
      ].join("\n");
      return { path: new URL(`${file}.ts`, folder), text };
    }),
  );
}

if (import.meta.main) {
  await hre.tasks.getTask("build").run({ quiet: true, noTests: true });
  mkdirSync(folder, { recursive: true });
  for (const { path, text } of await abiFiles()) writeFileSync(path, text);
}
