import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChainReader } from "../../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { NodeWorld, type StartedNode } from "../../../test/operator/node/node-world.ts";
import { publishBaseAgent } from "../../stage/base-agent.ts";
import { cast } from "../../stage/cast.ts";

const COLLECT = new URL("./collect-on-signal.ts", import.meta.url).href;
/** Milliseconds in which a collection ends, and what is free is given back to the system. */
const PAUSE = 3_000;

/** Sizes of an engine, the same for the node's and the one beside it. */
export interface EngineSize {
  model: string;
  threads: number;
  memoryMiB: number;
  maxBatch: number;
}

/** An answer, in milliseconds since it was asked for. */
export interface TimedAnswer {
  firstMs: number;
  totalMs: number;
  tokens: number;
}

/** A node as people start it, with one payer. */
export class BenchNode {
  readonly agent: { id: number; name: string };
  readonly mirror: RegistryMirror;
  readonly #world: NodeWorld;
  readonly #node: StartedNode;
  readonly #ledger: PayerLedger;
  readonly #fetch: typeof fetch;

  private constructor(given: {
    world: NodeWorld;
    node: StartedNode;
    ledger: PayerLedger;
    agent: { id: number; name: string };
    mirror: RegistryMirror;
  }) {
    this.#world = given.world;
    this.#node = given.node;
    this.#ledger = given.ledger;
    this.agent = given.agent;
    this.mirror = given.mirror;
    this.#fetch = payingFetch({ ledger: given.ledger });
  }

  /** Starts chain, Redis and a node with all roles, whose engine has this size. */
  static async start(engine: EngineSize): Promise<BenchNode> {
    const { NODE_OPTIONS = "" } = process.env;
    process.env.NODE_OPTIONS = `${NODE_OPTIONS} --expose-gc --import ${COLLECT}`;
    try {
      return await BenchNode.#start(engine);
    } finally {
      process.env.NODE_OPTIONS = NODE_OPTIONS;
    }
  }

  static async #start(engine: EngineSize): Promise<BenchNode> {
    const world = await NodeWorld.open();
    // So cheap that one channel pays for any number of answers.
    const prices = { pricePerJob: 10n ** 12n, pricePerPromptToken: 10n ** 9n, pricePerCompletionToken: 10n ** 9n };
    const name = "measured";
    const { Fatima } = cast(world.stage);
    const id = await publishBaseAgent(world.stage, Fatima, { name, model: engine.model, prices });
    const watcher = { intervalSeconds: 3_600 };
    const gateway = { port: 0, requestsPerSecond: 100_000, jobsInFlight: 64 };
    // As nodes are set up: what happens around answering is measured, not how often this chain is looked at.
    const chain = { rpc: world.rpc, addresses: "addresses.json", confirmations: 0 };
    world.configure({ engine: { ...engine, slots: 1, maxRank: 8 }, gateway, watcher, settlement: {}, chain });
    const node = await world.start("--role", "gateway,worker,settler");
    const [{ channel, key: privateKey }] = world.olga.channels;
    const { chainId, contracts } = world.stage.deployment;
    const domain = { chainId: BigInt(chainId), verifyingContract: contracts.channels };
    const ledger = new PayerLedger({ file: join(world.folder, "payer.sqlite"), channel, domain, privateKey });
    const reader = world.stage.client as unknown as ChainReader;
    const { deployment } = world.stage;
    const mirror = new RegistryMirror({ file: ":memory:", reader, deployment, confirmations: 0 });
    await mirror.sync();
    return new BenchNode({ world, node, ledger, agent: { id, name }, mirror });
  }

  get folder(): string {
    return this.#world.folder;
  }

  /** Asks, pays and hears the answer as it comes. */
  async ask(question: string, maxTokens: number): Promise<TimedAnswer> {
    const started = performance.now();
    const response = await this.#fetch(`${this.#node.urls.gateway}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: this.agent.name,
        messages: [{ role: "user", content: question }],
        max_tokens: maxTokens,
        temperature: 0,
        stream: true,
        stream_options: { include_usage: true },
      }),
    });
    if (!response.ok) throw new Error(`Status ${response.status}: ${await response.text()}\n${this.#node.log()}`);
    let firstMs: number | undefined;
    let tokens = 0;
    let rest = "";
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const events = (rest + chunk).split("\n\n");
      rest = events.pop()!;
      for (const event of events) {
        if (!event.startsWith("data: {")) continue;
        const { choices, usage, error } = JSON.parse(event.slice(6));
        if (error) throw new Error(error.message);
        if (choices?.[0]?.delta?.content) firstMs ??= performance.now() - started;
        if (usage) tokens = usage.completion_tokens;
      }
    }
    return { firstMs: firstMs ?? Number.NaN, totalMs: performance.now() - started, tokens };
  }

  /** What the node's process holds in memory, in MiB. */
  residentMiB(): number {
    const kibibytes = execFileSync("ps", ["-o", "rss=", "-p", String(this.#node.pid)], { encoding: "utf8" });
    return Math.round(Number(kibibytes) / 1_024);
  }

  /** As {@link residentMiB}, without the garbage that V8 has not collected yet. */
  async inUseMiB(): Promise<number> {
    process.kill(this.#node.pid, "SIGUSR2");
    await sleep(PAUSE);
    return this.residentMiB();
  }

  async close(): Promise<void> {
    await this.#node.stop();
    this.#ledger.close();
    this.mirror.close();
    await this.#world.close();
  }
}
