import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { depositBond } from "../../operator/cli/node/bond.ts";
import { registerOperator } from "../../operator/cli/node/init.ts";
import { readConfig } from "../../operator/node/config.ts";
import { readRoles } from "../../operator/node/roles.ts";
import { type RunningNode, startNode } from "../../operator/node/start-node.ts";
import type { Stage } from "../stage/stage.ts";
import type { People, Person } from "./people.ts";

/** Somebody who is an operator, and where its node is to answer. */
export interface RegisteredOperator {
  person: Person;
  id: number;
  url: string;
}

/** An operator with its node. */
export interface Operator extends RegisteredOperator {
  node: RunningNode;
  /** The last lines of the node's log. */
  log: (lines?: number) => string;
}

export interface NodeSettings {
  stage: Stage;
  people: People;
  operator: RegisteredOperator;
  /** For the node's configuration, log and data. */
  folder: string;
  /** Of the chain, for the node as for anybody. */
  rpc: string;
  redis: string;
  model: string;
  /** Folders that content may be read from. */
  contentFolders: string[];
  toolOrigin: string;
  /** Where Mallory publishes, on this machine as well. */
  trustedOrigins: string[];
  /** Receipts that close a batch. */
  batchReceipts: number;
}

/** Makes somebody an operator with a bond. @returns Its number. */
export async function becomeOperator(
  { stage, people }: { stage: Stage; people: People },
  person: Person,
  endpoint: string,
): Promise<number> {
  const { minimumBond } = stage.parameters;
  await people.give(person, minimumBond);
  const id = await registerOperator(person.session, endpoint);
  await depositBond(person.session, id, minimumBond);
  return id;
}

/** Makes Olga an operator. */
export async function registerOlga(stage: Stage, people: People): Promise<RegisteredOperator> {
  const person = await people.get("Olga");
  const url = `http://127.0.0.1:${await freePort(8_787)}`;
  return { person, id: await becomeOperator({ stage, people }, person, url), url };
}

/** Starts an operator's node: gateway, worker, settler and watcher in one process, as `operator start` does. */
export async function startOperator(options: NodeSettings): Promise<Operator> {
  const { stage, folder, rpc, redis, model, contentFolders, toolOrigin, trustedOrigins, batchReceipts } = options;
  const { person, id, url } = options.operator;
  options.people.handOver(person);
  const file = join(folder, "openledger.json");
  const config = {
    operator: id,
    data: "node",
    chain: { rpc, confirmations: 0, intervalSeconds: 0.25 },
    redis: { url: redis, prefix: `openledger-demo-${process.pid}` },
    gateway: { port: Number(new URL(url).port), cors: ["*"], contextTokens: 400, answerTokens: 80 },
    engine: { model, maxRank: 16, maxBatch: 32 },
    worker: { concurrency: 32, passages: 1, tools: { trustedEndpoints: [toolOrigin] } },
    settlement: { intervalSeconds: 0.5, batchReceipts, batchSeconds: 120 },
    watcher: { intervalSeconds: 0.5 },
    content: { folders: contentFolders, ipfsGateways: [], trustedOrigins },
    shutdownSeconds: 10,
  };
  writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`);
  const logFile = join(folder, "node.log");
  writeFileSync(logFile, "");
  const node = await startNode({
    config: readConfig(file),
    roles: readRoles("all"),
    deploymentOf: () => stage.deployment,
    account: person.account,
    transactions: join(folder, "transactions"),
    say: (text) => appendFileSync(logFile, `${new Date().toISOString()} ${text}\n`),
  });
  const log = (lines = 20) => readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  return { ...options.operator, node, log };
}

/** The wanted port if nobody listens there, else any. */
async function freePort(wanted: number): Promise<number> {
  const take = (port: number) =>
    new Promise<number>((found, failed) => {
      const server = createServer();
      server.once("error", failed).listen(port, "127.0.0.1", () => {
        const { port } = server.address() as { port: number };
        server.close(() => found(port));
      });
    });
  return take(wanted).catch(() => take(0));
}
