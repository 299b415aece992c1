import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex as hexOf } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import type { WindowSeconds } from "../../deploy/networks.ts";
import { PayerLedger } from "../../operator/payments/payer/payer-ledger.ts";
import type { Hex } from "../../operator/protocol/bytes.ts";
import { connectSequencer } from "../../operator/settlement/http/sequencer-client.ts";
import { Journal } from "../../operator/settlement/journal/journal.ts";
import type { Sequencer } from "../../operator/settlement/sequencer.ts";
import { publishBaseAgent } from "../../scripts/stage/base-agent.ts";
import { cast, type Operator, openOperator } from "../../scripts/stage/cast.ts";
import { serveChain } from "../../scripts/stage/serve-chain.ts";
import { openStage, type Stage } from "../../scripts/stage/stage.ts";
import { MODEL } from "../operator/engine/worker/tiny-model.ts";
import { MortalRedis } from "../operator/queue/plant.ts";
import { Customer } from "./customer.ts";
import { type FullDisk, NoWriting, SmallDisk } from "./full-disk.ts";
import { RpcDoor } from "./rpc-door.ts";
import { Supervised } from "./supervised.ts";

const WRONG_CLOCK = new URL("./wrong-clock.ts", import.meta.url).href;
const MNEMONIC = "test test test test test test test test test test test junk";
const OLGA = 9;
const SECRET = "s".repeat(40);
const AGENT = "parrot";
export const PREFIX = "chaos";

/** An operator whose roles are processes of their own, with a real chain, a real Redis, and payers in this process. */
export class ChaosWorld {
  readonly folder = mkdtempSync(join(tmpdir(), "openledger-chaos-"));
  readonly stage: Stage;
  readonly olga: Operator;
  /** Operator, publisher and treasury, who share each price, and what they had before the first job, in wei of OPEN. */
  readonly earners: readonly Hex[];
  readonly ownedBefore: bigint;
  readonly redis: MortalRedis;
  readonly door: RpcDoor;
  readonly customers: Customer[];
  readonly sequencer: Sequencer;
  readonly ports: { gateway: number; sequencer: number; health: number };
  readonly processes: Supervised[] = [];
  /** Ways in which the node's disk can be full on this machine. */
  readonly disks: readonly FullDisk[];
  readonly #smallDisk: SmallDisk | undefined;
  readonly #noWriting: NoWriting | undefined;
  readonly #chain: Awaited<ReturnType<typeof serveChain>>;
  readonly #over = new AbortController();

  private constructor(given: {
    stage: Stage;
    olga: Operator;
    earners: readonly Hex[];
    ownedBefore: bigint;
    redis: MortalRedis;
    door: RpcDoor;
    chain: Awaited<ReturnType<typeof serveChain>>;
    ports: { gateway: number; sequencer: number; health: number };
  }) {
    const { stage, olga, ports } = given;
    this.stage = stage;
    this.olga = olga;
    this.earners = given.earners;
    this.ownedBefore = given.ownedBefore;
    this.redis = given.redis;
    this.door = given.door;
    this.ports = ports;
    this.#chain = given.chain;
    writeFileSync(join(this.folder, "addresses.json"), JSON.stringify(stage.deployment));
    writeFileSync(join(this.folder, "secret"), SECRET, { mode: 0o600 });
    this.#smallDisk = SmallDisk.mount(this.#node);
    this.#noWriting = NoWriting.of(this.processes);
    this.disks = [this.#smallDisk, this.#noWriting].filter((disk) => disk !== undefined);
    this.setClock(0);
    this.#configure();
    this.sequencer = connectSequencer({ url: this.#sequencerUrl, secret: SECRET, attempts: 10 });
    const { chainId, contracts } = stage.deployment;
    const domain = { chainId: BigInt(chainId), verifyingContract: contracts.channels };
    this.customers = olga.channels.map(({ channel, key: privateKey }) => {
      const file = join(this.folder, `payer-${channel}.sqlite`);
      const ledger = new PayerLedger({ file, channel, domain, privateKey });
      return new Customer(ledger, {
        url: `http://127.0.0.1:${ports.gateway}`,
        model: AGENT,
        over: this.#over.signal,
      });
    });
  }

  /** @param windows Other than the local network's; ten seconds to challenge unless given. */
  static async open(windows: Partial<WindowSeconds> = {}): Promise<ChaosWorld> {
    const [stage, redis] = await Promise.all([
      openStage({ windows: { challenge: 10, ...windows }, blockEvery: 500 }),
      MortalRedis.start(),
    ]);
    const people = cast(stage);
    const olga = await openOperator(stage, people.Olga, [people.Paul, people.Quinn, people.Wei]);
    const prices = { pricePerJob: 10n ** 15n, pricePerPromptToken: 10n ** 12n, pricePerCompletionToken: 10n ** 12n };
    await publishBaseAgent(stage, people.Fatima, { name: AGENT, model: MODEL, prices });
    const earners = [people.Olga.account, people.Fatima.account, stage.wallets[1].account].map(
      ({ address }) => address,
    );
    const owned = await Promise.all(earners.map((one) => stage.contracts.token.read.balanceOf([one])));
    const ownedBefore = owned.reduce((total, amount) => total + amount, 0n);
    const chain = await serveChain(stage);
    const door = await RpcDoor.open(chain.url);
    const [gateway, sequencer, health] = await freePorts(3);
    return new ChaosWorld({
      stage,
      olga,
      earners,
      ownedBefore,
      redis,
      door,
      chain,
      ports: { gateway, sequencer, health },
    });
  }

  /** Sets the clock of all processes to so many seconds ahead of the true time, now. Payers and chain have the true time. */
  setClock(ahead: number): void {
    // In one step: whoever looks meanwhile finds the old file or the new one.
    writeFileSync(`${this.#clock}.new`, String(ahead));
    renameSync(`${this.#clock}.new`, this.#clock);
  }

  #configure(): void {
    const { ports } = this;
    const config = {
      operator: this.olga.id,
      data: join(this.#node, "data"),
      chain: { rpc: this.door.url, addresses: "addresses.json", confirmations: 1, intervalSeconds: 0.5 },
      redis: { url: this.redis.url, prefix: PREFIX },
      sequencer: { secretFile: "secret", port: ports.sequencer, url: this.#sequencerUrl },
      gateway: { port: ports.gateway },
      engine: { model: MODEL, threads: 1, memoryMiB: 512, slots: 1, maxRank: 4, maxBatch: 8 },
      worker: { concurrency: 8 },
      settlement: { intervalSeconds: 0.5, batchReceipts: 30, batchSeconds: 4 },
      shutdownSeconds: 5,
    };
    const settler = { ...config, health: { port: ports.health } };
    for (const [role, its] of Object.entries({ gateway: config, worker: config, settler })) {
      writeFileSync(join(this.folder, `${role}.json`), JSON.stringify(its));
    }
  }

  /** What a node's own disk has: journal, mirror, caches, and the transactions' journal. */
  get #node(): string {
    return join(this.folder, "node");
  }

  get #clock(): string {
    return join(this.folder, "clock");
  }

  get #sequencerUrl(): string {
    return `http://127.0.0.1:${this.ports.sequencer}`;
  }

  /** Starts a role; it is started again whenever it ends. */
  start(role: string): Supervised {
    const key = hexOf(mnemonicToAccount(MNEMONIC, { addressIndex: OLGA }).getHdKey().privateKey!);
    const env = () => {
      const { REDIS_URL, NODE_OPTIONS = "", ...rest } = process.env;
      const home = { OPENLEDGER_HOME: join(this.#node, "home"), OPENLEDGER_PRIVATE_KEY: key };
      const clock = { OPENLEDGER_TEST_CLOCK: this.#clock, NODE_OPTIONS: `${NODE_OPTIONS} --import ${WRONG_CLOCK}` };
      return { ...rest, ...home, ...clock };
    };
    const wrap = () => this.#noWriting?.wrap ?? [];
    const started = new Supervised(role, { folder: this.folder, env, wrap });
    this.processes.push(started);
    return started;
  }

  /** The operator's books, while no settler runs. */
  journal(): Journal {
    const { deployment, separator } = this.stage;
    const folder = join(this.#node, "data", `chain-${deployment.chainId}-operator-${this.olga.id}`);
    return new Journal({ file: join(folder, "journal.sqlite"), operator: this.olga.id, separator });
  }

  /** Waits until something holds. @throws AbortError When the world is closed first, so that no test outlives its limit. */
  async until(holds: () => unknown): Promise<void> {
    while (!(await holds())) await sleep(50, undefined, { signal: this.#over.signal });
  }

  async stopProcesses(): Promise<void> {
    await Promise.all(this.processes.splice(0).map((one) => one.stop()));
  }

  async close(): Promise<void> {
    this.#over.abort();
    await this.stopProcesses();
    for (const { ledger } of this.customers) ledger.close();
    this.door.close();
    this.#chain.close();
    await Promise.all([this.redis.stop(), this.stage.close()]);
    this.#smallDisk?.unmount();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Ports that nobody has now, and that processes which are started anew find again. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = servers.map(
    (server) =>
      new Promise<number>((resolve) =>
        server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)),
      ),
  );
  const found = await Promise.all(ports);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return found;
}
