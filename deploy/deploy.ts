// npm run deploy -- --network sepolia [--dry-run] ...
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { network } from "hardhat";
import { type Address, formatEther, isAddress, type PublicClient } from "viem";
import { buildContracts } from "../scripts/build-contracts.ts";
import { writeAddresses } from "./addresses.ts";
import { checkDeployment } from "./check-deployment.ts";
import { type Deployment, deployOpenLedger } from "./deployment.ts";
import { type NetworkParameters, networkParameters, networks } from "./networks.ts";

const help = `Deploys the contracts, wires them, reads every immutable back and writes deploy/addresses/<chain id>.json.
Running it again after a failure goes on where it stopped.

  npm run deploy -- --network NAME [options]

  --network NAME     ${networks.map(({ name }) => name).join(", ")}
  --dry-run          deploy to a chain inside this process, with that network's parameters; writes nothing
  --holder ADDRESS   receives the 1,000,000,000 OPEN (default: the deployer)
  --proposer ADDRESS may propose changes of the parameters, through the timelock (default: the deployer)
  --treasury ADDRESS receives the protocol's share (default: the deployer)
  --verify           publish the sources at the network's explorer afterwards
  --yes              do not ask before spending
  --journal NAME     name of Ignition's journal in deploy/deployments (default: chain-<chain id>)
  --out FILE         write the addresses there instead
  --json             print the addresses as one JSON object

Set the endpoint and the key as <NETWORK>_RPC_URL and DEPLOYER_PRIVATE_KEY, best in Hardhat's encrypted keystore:
npx hardhat keystore set SEPOLIA_RPC_URL; docs/deploy.md walks through it.`;

const { values } = parseArgs({
  options: {
    network: { type: "string" },
    "dry-run": { type: "boolean", default: false },
    holder: { type: "string" },
    proposer: { type: "string" },
    treasury: { type: "string" },
    verify: { type: "boolean", default: false },
    yes: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    journal: { type: "string" },
    out: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});

try {
  if (values.help || !values.network) {
    console.log(help);
    process.exitCode = values.help ? 0 : 2;
  } else {
    await main(networkParameters(values.network));
  }
} catch (error) {
  console.error(`deploy: ${(error as Error).message}`);
  process.exitCode = 1;
}

async function main(target: NetworkParameters): Promise<void> {
  const say = values.json ? () => {} : (line: string) => console.log(line);
  const dry = values["dry-run"];
  const named = { holder: address("holder"), proposer: address("proposer"), treasury: address("treasury") };
  if (target.main && !dry) {
    const absent = Object.entries(named).filter(([, given]) => !given);
    if (absent.length > 0) {
      throw new Error(`${target.name} is a main network: name ${absent.map(([role]) => `--${role}`).join(", ")}.`);
    }
  }
  buildContracts();
  const connection = dry
    ? await network.create({ network: "local", override: { chainId: target.chainId } })
    : await network.create(target.name);
  try {
    const client = await connection.viem.getPublicClient();
    const chainId = await client.getChainId();
    if (chainId !== target.chainId) {
      throw new Error(`The endpoint of ${target.name} is chain ${chainId}, not ${target.chainId}: check its RPC URL.`);
    }
    const [deployer] = await connection.viem.getWalletClients();
    const me = deployer.account.address;
    const roles = {
      deployer: me,
      holder: named.holder ?? me,
      proposer: named.proposer ?? me,
      treasury: named.treasury ?? me,
    };
    const before = await client.getBalance({ address: me });
    say(`${dry ? "Dry run of " : ""}${target.name} (chain ${chainId}), deployer ${me}`);
    say(`  balance ${formatEther(before)}, gas price ${await client.getGasPrice()} wei`);
    if (!dry && target.chainId !== 31337 && !values.yes && !(await confirmed())) {
      throw new Error("Nothing was sent.");
    }
    if (!dry) await checkJournal(client, chainId);
    const deployment = await deployOpenLedger(connection, target, roles, {
      deploymentId: journal(chainId),
      progress: !values.json && process.stdout.isTTY,
    });
    deployment.fromBlock = firstBlock(chainId) ?? deployment.fromBlock;
    const compared = await checkDeployment(connection, deployment, target, roles);
    const spent = before - (await client.getBalance({ address: me }));
    say(`\n${compared} immutables and wires read back, all as asked; cost ${formatEther(spent)}`);
    if (!dry) say(`Addresses: ${writeAddresses(deployment, values.out)}`);
    if (values.verify && !dry) verifySources(target);
    print(deployment);
  } finally {
    await connection.close();
  }
}

function journal(chainId: number): string {
  return values.journal ?? `chain-${chainId}`;
}

/**
 * A journal whose contracts are not on the chain is of another chain with the same id. A local chain starts anew every
 * time, so there the journal is dropped; elsewhere the endpoint is wrong or behind.
 */
async function checkJournal(client: PublicClient, chainId: number): Promise<void> {
  const folder = new URL(`./deployments/${journal(chainId)}/`, import.meta.url);
  const file = new URL("deployed_addresses.json", folder);
  if (!existsSync(file)) return;
  const [address] = Object.values<Address>(JSON.parse(readFileSync(file, "utf8")));
  if (!address || (await client.getCode({ address }))) return;
  if (chainId !== 31337) {
    throw new Error(
      `deploy/deployments/${journal(chainId)} has a contract at ${address}, the chain has none: is the endpoint another chain's, or behind? To deploy anew, move that folder away.`,
    );
  }
  console.error("The journal is of a local chain that is gone; starting anew.");
  rmSync(folder, { recursive: true });
}

/** The block of the first transaction that Ignition's journal knows, so that a resumed deployment misses no event. */
function firstBlock(chainId: number): number | undefined {
  const file = new URL(`./deployments/${journal(chainId)}/journal.jsonl`, import.meta.url);
  if (!existsSync(file)) return undefined;
  const blocks = [...readFileSync(file, "utf8").matchAll(/"blockNumber":(\d+)/g)].map(([, block]) => Number(block));
  return blocks.length > 0 ? Math.min(...blocks) : undefined;
}

/** Hardhat's own task takes constructor arguments and compiler input from Ignition's journal. */
function verifySources(target: NetworkParameters): void {
  const args = ["ignition", "verify", journal(target.chainId), "--network", target.name];
  const { status } = spawnSync("hardhat", args, { stdio: values.json ? ["ignore", 2, 2] : "inherit" });
  if (status !== 0) throw new Error(`The contracts stand, the sources are not verified: hardhat ${args.join(" ")}`);
}

function address(role: "holder" | "proposer" | "treasury"): Address | undefined {
  const given = values[role];
  if (given !== undefined && !isAddress(given)) throw new Error(`--${role} ${given} is not an address.`);
  return given as Address | undefined;
}

async function confirmed(): Promise<boolean> {
  if (!process.stdin.isTTY) throw new Error("Not a terminal: say --yes to deploy without being asked.");
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question("Deploy? Type yes: ");
  terminal.close();
  return answer.trim() === "yes";
}

function print(deployment: Deployment): void {
  if (values.json) console.log(JSON.stringify(deployment));
  else for (const [name, at] of Object.entries(deployment.contracts)) console.log(`  ${name.padEnd(12)} ${at}`);
}
