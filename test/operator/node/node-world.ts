import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toHex as hexOf } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { Journal } from "../../../operator/settlement/journal/journal.ts";
import { type RunningRedis, startRedis } from "../../../scripts/redis.ts";
import { publishBaseAgent } from "../../../scripts/stage/base-agent.ts";
import { cast, type Operator, openOperator } from "../../../scripts/stage/cast.ts";
import { serveChain } from "../../../scripts/stage/serve-chain.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";
import { MODEL } from "../engine/worker/tiny-model.ts";

const MNEMONIC = "test test test test test test test test test test test junk";
const OLGA = 9;
const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));

/** A chain that other processes reach, a Redis, an operator with bond and payers, and an agent on a tiny model. */
export class NodeWorld {
  readonly folder = mkdtempSync(join(tmpdir(), "openledger-node-"));
  readonly stage: Stage;
  readonly olga: Operator;
  readonly agent: string;
  readonly #chain: Awaited<ReturnType<typeof serveChain>>;
  readonly #redis: RunningRedis;
  readonly #children = new Set<ChildProcess>();
  /** What the node that was started last has said. */
  newestLog: () => string = () => "";

  constructor(
    stage: Stage,
    olga: Operator,
    agent: string,
    chain: Awaited<ReturnType<typeof serveChain>>,
    redis: RunningRedis,
  ) {
    this.stage = stage;
    this.olga = olga;
    this.agent = agent;
    this.#chain = chain;
    this.#redis = redis;
    writeFileSync(join(this.folder, "addresses.json"), JSON.stringify(stage.deployment));
    writeFileSync(join(this.folder, "secret"), "s".repeat(40), { mode: 0o600 });
    this.configure();
  }

  static async open(): Promise<NodeWorld> {
    // The chain's clock runs as the machine's does: a node posts nothing that a chain minutes behind would refuse.
    const stage = await openStage({ blockEvery: 500 });
    const people = cast(stage);
    const olga = await openOperator(stage, people.Olga, [people.Paul]);
    const name = "parrot";
    const prices = { pricePerJob: 10n ** 15n, pricePerPromptToken: 10n ** 12n, pricePerCompletionToken: 10n ** 12n };
    await publishBaseAgent(stage, people.Fatima, { name, model: MODEL, prices });
    return new NodeWorld(stage, olga, name, await serveChain(stage), await startRedis());
  }

  get config(): string {
    return join(this.folder, "openledger.json");
  }

  get rpc(): string {
    return this.#chain.url;
  }

  configure(over: Record<string, unknown> = {}): void {
    const config = {
      operator: this.olga.id,
      data: "data",
      chain: { rpc: this.#chain.url, addresses: "addresses.json", confirmations: 0, intervalSeconds: 0.2 },
      redis: { url: this.#redis.url },
      sequencer: { secretFile: "secret" },
      gateway: { port: 0 },
      engine: { model: MODEL, threads: 1, memoryMiB: 512, slots: 1, maxRank: 4, maxBatch: 4 },
      settlement: { intervalSeconds: 0.3, batchReceipts: 2 },
      watcher: { intervalSeconds: 0.3 },
      shutdownSeconds: 10,
    };
    writeFileSync(this.config, JSON.stringify({ ...config, ...over }));
  }

  /** The operator's books, while no settler runs. */
  journal(): Journal {
    const { deployment, separator } = this.stage;
    const folder = join(this.folder, "data", `chain-${deployment.chainId}-operator-${this.olga.id}`);
    return new Journal({ file: join(folder, "journal.sqlite"), operator: this.olga.id, separator });
  }

  /** A command of the line of commands, to its end. */
  async run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const child = this.#spawn(args);
    const [out, err] = [child.stdout!, child.stderr!].map((stream) => stream.setEncoding("utf8").toArray());
    const [code] = (await once(child, "close")) as [number];
    return { code, out: (await out).join(""), err: (await err).join("") };
  }

  /** A node that is ready. */
  async start(...args: string[]): Promise<StartedNode> {
    const child = this.#spawn(["operator", "start", "--config", this.config, "--json", ...args]);
    let err = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    this.newestLog = () => err;
    const closed = once(child, "close") as Promise<[number]>;
    const first = await Promise.race([once(child.stdout!.setEncoding("utf8"), "data"), closed]);
    if (typeof first[0] !== "string") throw new Error(`The node did not start: ${err}`);
    return {
      urls: JSON.parse(first[0]),
      log: () => err,
      pid: child.pid!,
      async stop(signal = "SIGTERM") {
        child.kill(signal);
        return (await closed)[0];
      },
    };
  }

  /** Ends every process at once, and waits until it has. */
  async killAll(): Promise<void> {
    const ended = Array.from(this.#children, (child) => {
      const closed = once(child, "close");
      child.kill("SIGKILL");
      return closed;
    });
    await Promise.all(ended);
  }

  async close(): Promise<void> {
    await this.killAll();
    await this.#redis.stop();
    this.#chain.close();
    await this.stage.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(args: string[]): ChildProcess {
    const key = hexOf(mnemonicToAccount(MNEMONIC, { addressIndex: OLGA }).getHdKey().privateKey!);
    const { REDIS_URL, ...rest } = process.env;
    const env = { ...rest, OPENLEDGER_HOME: join(this.folder, "home"), OPENLEDGER_PRIVATE_KEY: key };
    const child = spawn(process.execPath, [LAUNCHER, ...args], {
      env,
      cwd: this.folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#children.add(child);
    child.on("close", () => this.#children.delete(child));
    return child;
  }
}

export interface StartedNode {
  urls: { gateway: string; sequencer?: string; health?: string; roles: string[] };
  log: () => string;
  pid: number;
  /** @returns The exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
}
