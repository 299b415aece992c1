import { randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { type Hex, parseEventLogs } from "viem";
import { contractOf } from "../../chain/contracts.ts";
import { bundledModel } from "../../engine/bundled-model.ts";
import { readModelConfig } from "../../engine/model/config.ts";
import { connectRemoteEngine, isRemoteEngineAddress } from "../../engine/remote/connect.ts";
import { hashModel } from "../../engine/runtime/compiled-model.ts";
import { placeOf } from "../../hub/hub-name.ts";
import { locateModel } from "../../hub/locate.ts";
import {
  type ChainView,
  inOpen,
  note,
  openChain,
  printResult,
  type Session,
  withSession,
} from "../chain/chain-session.ts";
import type { InitOptions } from "../init.ts";
import { progressLine } from "../progress-line.ts";
import { depositBond } from "./bond.ts";

/** Chains of Hardhat and Anvil mine when something is sent: what they call final is blocks behind what was done. */
const LOCAL_CHAIN = 31_337;

/** `openledger init` */
export async function initNode(options: InitOptions): Promise<void> {
  const path = resolve(options.config);
  if (existsSync(path)) throw new Error(`${path} exists; nothing was changed.`);
  if (options.register && options.operator !== undefined) throw new Error("Give --operator or --register, not both.");
  if (options.register && options.endpoint === undefined) throw new Error("--register needs --endpoint.");
  const folder = dirname(path);
  // Before anything is spent: a file that cannot be written must not show after the operator is registered.
  mkdirSync(folder, { recursive: true });
  accessSync(folder, constants.W_OK);
  const view = await openChain(options);
  const bundled = bundledModel();
  const model =
    options.model ??
    (bundled ? "" : await ask("Folder or hub name of the base model, or address of a server (empty for none): "));
  if (!model && bundled)
    note("Workers will use the model that comes with this program; another one is given with --model.");
  const served = model || bundled;
  const checked = served ? await checkModel(served) : undefined;

  const needsWallet = options.register || options.bond !== undefined;
  const done = needsWallet
    ? await withSession(options, (session) => onChain(session, options))
    : { operator: options.operator };
  const operator = done.operator ?? Number(await ask("Number of your operator (or --register): "));
  if (!operator) throw new Error("Say which operator this is with --operator, or make one with --register.");
  const standing = await readOperator(view, operator);

  const secretFile = join(folder, "sequencer.secret");
  if (!existsSync(secretFile))
    writeFileSync(secretFile, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flag: "wx" });
  const from = (file: string) => relative(folder, resolve(file)) || ".";
  const config = {
    operator,
    keystore: from(options.keystore),
    chain: {
      rpc: options.rpc,
      ...(options.addresses && { addresses: from(options.addresses) }),
      ...(view.deployment.chainId === LOCAL_CHAIN && { confirmations: 0, intervalSeconds: 1 }),
    },
    ...(options.redis && { redis: { url: options.redis } }),
    sequencer: { secretFile: "sequencer.secret" },
    // A commit, so that the node serves tomorrow what was looked at today.
    ...(model && {
      engine: { model: checked?.pinned ?? (isRemoteEngineAddress(model) ? model : asPath(from(model))) },
    }),
  };
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { flag: "wx" });
  printResult(options.json, {
    config: path,
    ...standing,
    ...(checked?.hash && { baseModel: checked.hash }),
    ...("cost" in done ? { cost: done.cost } : {}),
    next: "openledger operator start",
  });
}

/** A path that nobody takes for a name on a hub, even when nothing is there any more. */
function asPath(path: string): string {
  return isAbsolute(path) || path.startsWith(".") ? path : `./${path}`;
}

/**
 * @returns Its hash, where its files are here, and its name with its commit, where it is of a hub.
 * @throws Whatever says what is wrong with it.
 */
async function checkModel(model: string): Promise<{ hash?: Hex; pinned?: string }> {
  if (isRemoteEngineAddress(model)) {
    await (await connectRemoteEngine(model)).close();
    return {};
  }
  const { folder, pinned } = await locateModel(placeOf(model), { say: progressLine() });
  readModelConfig(folder);
  return { hash: `0x${hashModel(folder)}`, pinned };
}

async function onChain(session: Session, options: InitOptions): Promise<{ operator?: number; cost: string }> {
  const operator = options.register ? await registerOperator(session, options.endpoint!) : options.operator;
  if (options.register) note(`Operator ${operator} is yours.`);
  if (options.bond !== undefined) {
    if (operator === undefined) throw new Error("--bond needs --operator or --register.");
    await depositBond(session, operator, options.bond);
  }
  return { operator, cost: inOpen(session.cost()) };
}

/** Makes the session's wallet an operator that is reached at an address, and posts for itself. @returns Its number. */
export async function registerOperator(session: Session, endpoint: string): Promise<number> {
  const args = [endpoint, session.account.address] as const;
  const receipt = await session.transact("Registering the operator", "operators", "register", args);
  const { abi } = contractOf(session.deployment, "operators");
  const [registered] = parseEventLogs({ abi, eventName: "OperatorRegistered", logs: receipt.logs });
  return registered.args.operator;
}

/** @throws Error when there is no such operator. */
async function readOperator({ client, deployment }: ChainView, operator: number) {
  const operators = contractOf(deployment, "operators");
  const registered = await client.readContract({ ...operators, functionName: "operatorCount" });
  if (operator > registered) throw new Error(`There is no operator ${operator}: ${registered} are registered.`);
  const [bond, minimum] = await Promise.all([
    client.readContract({ ...operators, functionName: "bondOf", args: [operator] }),
    client.readContract({ ...contractOf(deployment, "parameters"), functionName: "minimumBond" }),
  ]);
  if (bond < minimum)
    note(`The bond is ${inOpen(bond)} OPEN: batches take ${inOpen(minimum)} (openledger operator bond).`);
  return { operator, bond: inOpen(bond) };
}

/** What a person types, or nothing where there is nobody. */
async function ask(question: string): Promise<string> {
  if (!process.stdin.isTTY) return "";
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await terminal.question(question)).trim();
  } finally {
    terminal.close();
  }
}
