import { readFileSync, statSync } from "node:fs";
import type { LocalAccount } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { isRemoteEngineAddress } from "../engine/remote/connect.ts";
import { parseHubName } from "../hub/hub-name.ts";
import { locateModel } from "../hub/locate.ts";
import { JobQueue } from "../queue/job-queue.ts";
import { connectRedis } from "../queue/redis-connection.ts";
import { connectSequencer } from "../settlement/http/sequencer-client.ts";
import type { Sequencer } from "../settlement/sequencer.ts";
import { type NodeConfig, withBundledModel } from "./config.ts";
import { ConfigError } from "./config-error.ts";
import { startServing } from "./gateway-role.ts";
import { serveHealth } from "./health-server.ts";
import { type NodeBase, openBase } from "./node-base.ts";
import { nodeReport } from "./node-report.ts";
import type { Role } from "./roles.ts";
import { offerSequencer, openBooks, type SettlerRole, startSettling } from "./settler-role.ts";
import { prepareWatching } from "./watcher-role.ts";
import { startWorking } from "./worker-role.ts";

export interface NodeOptions {
  config: NodeConfig;
  roles: ReadonlySet<Role>;
  /** Where the contracts are on a chain. @throws Error when that is not known. */
  deploymentOf: (chainId: number) => Deployment;
  /** Signs what the settler posts and the watcher proves. */
  account?: LocalAccount;
  /** Folder of the transactions' journals of this machine's accounts. */
  transactions: string;
  /** Folder of the ledgers of this machine's payers. */
  payments?: string;
  /** What gateways, workers and the settler share; counts more than the file that the configuration names. */
  sequencerSecret?: string;
  /** Says something to whoever looks at the log. Default: the error output. */
  say?: (line: string) => void;
}

export interface RunningNode {
  /** Addresses that this node answers at. */
  urls: { gateway?: string; sequencer?: string; health?: string };
  alarms(): readonly string[];
  /**
   * Ends in order: nothing new comes in, what is being answered ends (or is left to others after
   * `shutdownSeconds`), rounds in hand end, files are closed. Closing twice is the same.
   */
  close(): Promise<void>;
}

/**
 * Starts the roles of one process.
 *
 * @throws {ConfigError} When a role lacks a setting.
 * @throws Whatever a part throws that cannot start; what had started is closed again.
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { roles, deploymentOf, account, transactions, say = console.error } = options;
  const config = await withModelsHere(roles, checkedFor(roles, options.config), say);
  const stopping = new AbortController();
  const closers: (() => unknown)[] = [];
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= closeAll(closers, stopping, say);
    return closed;
  };
  try {
    const { signal } = stopping;
    const atClose = (closer: () => unknown) => closers.push(closer);
    const base = await openBase({ config, deploymentOf, account, transactions, signal, say, atClose });
    const urls = await startRoles(base, { ...options, config });
    return { urls, alarms: () => nodeReport(base.parts).alarms, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startRoles(
  base: NodeBase,
  { config, roles, sequencerSecret, payments }: NodeOptions,
): Promise<RunningNode["urls"]> {
  const urls: RunningNode["urls"] = {};
  const secret = () => sequencerSecret ?? readSecret(config);
  const books = roles.has("settler") ? await openBooks(base) : undefined;
  const needsQueue = roles.has("settler") || roles.has("gateway") || roles.has("worker");
  if (needsQueue) {
    const sequencer = books?.sequencer ?? connectSequencer({ url: config.sequencer.url!, secret: secret() });
    const settings = await queueSettings(config);
    const { jobsInFlight, requestsPerSecond } = config.gateway;
    const limits = { ...(jobsInFlight && { jobsInFlight }), ...(requestsPerSecond && { requestsPerSecond }) };
    const queue = new JobQueue({ ...settings, limits, warn: base.say });
    base.atClose(() => queue.close());
    base.parts.push({ metrics: () => queue.metrics() });
    if (books && (config.sequencer.port !== undefined || !(roles.has("gateway") && roles.has("worker")))) {
      urls.sequencer = await offerSequencer(base, books, secret());
    }
    if (books) startSettling(base, books, queue);
    const published = books?.publishedDirectory;
    const watch = roles.has("watcher") ? prepareWatching(base, { payments, published }) : undefined;
    await startAnswering(base, roles, { sequencer, queue, books, settings, urls });
    watch?.();
  } else prepareWatching(base, { payments })();
  if (urls.gateway === undefined && config.health.port !== undefined) {
    const server = await serveHealth(base.parts, { host: config.health.host, port: config.health.port });
    base.atClose(() => server.close());
    urls.health = server.url;
  }
  return urls;
}

/** The gateway last, and so closed first: nothing comes in that nobody could answer. */
async function startAnswering(
  base: NodeBase,
  roles: ReadonlySet<Role>,
  given: {
    sequencer: Sequencer;
    queue: JobQueue;
    books: SettlerRole | undefined;
    settings: { redis: string; prefix: string };
    urls: RunningNode["urls"];
  },
): Promise<void> {
  const { sequencer, queue, books, settings, urls } = given;
  const work = roles.has("worker") ? await startWorking(base, sequencer, settings) : undefined;
  if (!roles.has("gateway")) return;
  const beside = { ...(books && { books }), ...(work && { server: work.server }) };
  const gateway = await startServing(base, { sequencer, queue, ...beside });
  urls.gateway = gateway.url;
}

/** The configuration with what some roles may leave out. @throws {ConfigError} */
function checkedFor(roles: ReadonlySet<Role>, given: NodeConfig): NodeConfig {
  const problems: string[] = [];
  const config = roles.has("worker") ? withBundledModel(given) : given;
  if (!config) problems.push("engine.model: is missing, a worker needs it, and this copy of the program has none");
  const isRemote = !roles.has("settler") && (roles.has("gateway") || roles.has("worker"));
  if (isRemote && given.sequencer.url === undefined) {
    problems.push("sequencer.url: is missing, and a gateway or worker without the settler beside it needs it");
  }
  if (!config || problems.length > 0) throw new ConfigError("the configuration", problems);
  return config;
}

/** The configuration with a folder in place of a model's name on a hub, for the roles that read the model. */
async function withModelsHere(roles: ReadonlySet<Role>, config: NodeConfig, say: (line: string) => void) {
  const { engine, watcher } = config;
  const samples = roles.has("watcher") && watcher.sample > 0;
  const isRead = roles.has("gateway") || roles.has("worker") || (samples && watcher.model === undefined);
  const own = engine && isRead && !isRemoteEngineAddress(engine.model) ? engine.model : undefined;
  const others = samples ? watcher.model : undefined;
  return {
    ...config,
    ...(own !== undefined && { engine: { ...engine, model: await folderOf("engine.model", own, say) } }),
    ...(others !== undefined && { watcher: { ...watcher, model: await folderOf("watcher.model", others, say) } }),
  };
}

async function folderOf(field: string, model: string, say: (line: string) => void): Promise<string> {
  // The configuration's paths are absolute.
  const hub = parseHubName(model);
  const { folder, pinned } = await locateModel(hub === undefined ? { folder: model } : { hub }, {
    say: (line, lasting) => lasting && say(line),
  });
  if (pinned !== undefined && pinned !== model) {
    say(`${field}: ${model} is ${pinned} at present; write that into the configuration, or it may change.`);
  }
  return folder;
}

/** @throws Error that says how to start a Redis, when none answers. */
export async function queueSettings(config: NodeConfig): Promise<{ redis: string; prefix: string }> {
  const redis = config.redis.url ?? "redis://127.0.0.1:6379";
  const connection = connectRedis(redis, { maxRetriesPerRequest: 1 });
  try {
    await connection.ping();
  } catch (cause) {
    const { host } = new URL(redis);
    const how =
      "start one (redis-server --appendonly yes, or node scripts/bootstrap.js run scripts/redis.ts), or set REDIS_URL or redis.url";
    throw new Error(`No Redis answers at ${host}: ${how}.`, { cause });
  } finally {
    connection.disconnect();
  }
  return { redis, prefix: config.redis.prefix ?? `openledger-${config.operator}` };
}

/** @throws {ConfigError} When there is none, or others on this machine may read it. */
function readSecret({ sequencer: { secretFile } }: NodeConfig): string {
  const wrong = (problem: string) => new ConfigError("the configuration", [`sequencer.secretFile: ${problem}`]);
  if (secretFile === undefined) throw wrong("is missing; or set OPENLEDGER_SEQUENCER_SECRET");
  let mode: number;
  try {
    mode = statSync(secretFile).mode;
  } catch {
    throw wrong(`there is no ${secretFile}`);
  }
  if (process.platform !== "win32" && (mode & 0o077) !== 0) throw wrong(`others may read ${secretFile}: chmod 600`);
  return readFileSync(secretFile, "utf8").trim();
}

/** The last started is closed first; one that fails keeps none of the others open. */
async function closeAll(
  closers: (() => unknown)[],
  stopping: AbortController,
  say: (line: string) => void,
): Promise<void> {
  for (let isChain = false; closers.length > 0; ) {
    // The last two are the mirror and what keeps it up to date; everything above still needs it.
    if (!isChain && closers.length <= 2) {
      isChain = true;
      stopping.abort();
    }
    try {
      await closers.pop()!();
    } catch (error) {
      say(`Closing: ${(error as Error).message}`);
    }
  }
  stopping.abort();
}
