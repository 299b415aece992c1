import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { mnemonicToAccount } from "viem/accounts";
import { answerBytes } from "../../../operator/api/answer-bytes.ts";
import { askedJobOf } from "../../../operator/api/asked-job.ts";
import { TransactionSender } from "../../../operator/chain/transactions.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { type RunningGateway, startGateway } from "../../../operator/gateway/start-gateway.ts";
import { readWindows } from "../../../operator/node/protocol-windows.ts";
import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { JobQueue } from "../../../operator/queue/job-queue.ts";
import { JobWorker } from "../../../operator/queue/job-worker.ts";
import { JobServer } from "../../../operator/serving/job-server.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";
import { Journal } from "../../../operator/settlement/journal/journal.ts";
import { LocalSequencer } from "../../../operator/settlement/local-sequencer.ts";
import { Settler } from "../../../operator/settlement/settler.ts";
import { viemChainPort } from "../../../operator/settlement/viem-chain-port.ts";
import { startRedis } from "../../../scripts/redis.ts";
import { openOperator } from "../../../scripts/stage/cast.ts";
import { GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { openServedWorld } from "../serving/served-world.ts";

const MNEMONIC = "test test test test test test test test test test test junk";
const OLGA = 9;

/** What an operator writes into a receipt in place of what it measured. */
export type Bend = (honest: ServedAnswer, server: JobServer, engine: EmbeddedEngine) => Promise<ServedAnswer>;

/** An operator with all parts of a node, whose worker may be made to lie, and a payer with a channel to it. */
export class AuditedOperator {
  readonly world: Awaited<ReturnType<typeof openServedWorld>>;
  readonly closers: (() => unknown)[] = [];
  ledger!: PayerLedger;
  ledgerFile!: string;
  channel!: number;
  channelKey!: Uint8Array;
  id!: number;
  gateway!: RunningGateway;
  published!: string;
  net!: { id: number; version: number; contributions: number[] };
  /** Applied to each answer before it is charged. */
  bend: Bend = async (honest) => honest;
  #settler!: Settler;

  private constructor(world: Awaited<ReturnType<typeof openServedWorld>>) {
    this.world = world;
    this.closers.push(() => world.close());
  }

  static async open(): Promise<AuditedOperator> {
    const operator = new AuditedOperator(await openServedWorld({ blockEvery: 500 }));
    try {
      await operator.#start();
      return operator;
    } catch (error) {
      await operator.close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { stage, people, root, mirror } = this.world;
    // Where contracts were compiled first, the chain's clock stands minutes behind.
    const behind = Math.floor(Date.now() / 1_000) - (await stage.now());
    if (behind > 0) await stage.wait(behind);
    const { Ada, Ben, Chen, Olga, Paul } = people;
    const redis = await startRedis();
    this.closers.push(() => redis.stop());
    this.net = await this.world.dataNet([
      { owner: Ada, documents: { "bridge.md": "# Bridge\n\nThe bridge was built by Anna in stone." } },
      { owner: Ben, documents: { "market.md": "# Market\n\nA market under the bridge is held on Mondays." } },
      { owner: Chen, documents: { "owls.md": "# Owls\n\nOwls turn their heads and sleep below the bridge." } },
    ]);
    const prices = { pricePerJob: 10n ** 15n, pricePerPromptToken: 10n ** 12n, pricePerCompletionToken: 10n ** 12n };
    await this.world.agent("guide", { dataNets: [this.net], ...prices });
    const { id, channels } = await openOperator(stage, Olga, [Paul]);
    this.id = id;
    this.channelKey = channels[0].key;

    const { deployment, client, separator, contracts, gasOf } = stage;
    const windows = await readWindows(client as never, deployment);
    const journal = new Journal({ file: join(root, "journal.sqlite"), operator: id, separator });
    await mirror.sync();
    const sequencer = new LocalSequencer({ journal, registry: mirror, windows });
    this.closers.push(() => journal.close());
    const following = new AbortController();
    const followed = mirror.follow(following.signal, { interval: 100 });
    this.closers.push(async () => {
      following.abort();
      await followed;
    });
    const shared = { redis: redis.url, prefix: "audited" };
    const queue = new JobQueue(shared);
    this.closers.push(() => queue.close());

    const settings = { model: MODEL, exact: true, threads: 1, memoryBytes: 512 * 2 ** 20, slots: 2, cache: GRAPHS };
    const engine = await startEmbeddedEngine(settings);
    this.closers.push(() => engine.close());
    const directory = join(root, "operator");
    const server = await JobServer.start({ engine, mirror, fetcher: this.world.fetcher(), model: MODEL, directory });
    this.closers.push(() => server.close());
    const worker = new JobWorker({
      ...{ ...shared, sequencer, decode: askedJobOf, encode: answerBytes },
      serve: async (...asked) => this.bend(await server.serve(...asked), server, engine),
    });
    await worker.ready();
    this.closers.push(() => worker.close());

    this.published = join(root, "olga");
    mkdirSync(this.published);
    const domain = { chainId: BigInt(deployment.chainId), verifyingContract: deployment.contracts.channels };
    this.gateway = await startGateway({
      ...{ operator: id, domain, asset: deployment.contracts.token, voucherLife: windows.voucherLife },
      ...{ registry: mirror, sequencer, queue, servesModel: () => true, books: journal },
      publishedDirectory: this.published,
    });
    this.closers.push(() => this.gateway.close(0));
    await gasOf(contracts.operators.write.setEndpoint([id, this.gateway.url], { account: Olga.account }));

    const file = join(root, "transactions.sqlite");
    const sender = new TransactionSender({
      client: client as never,
      account: mnemonicToAccount(MNEMONIC, { addressIndex: OLGA }),
      file,
      interval: 50,
    });
    this.closers.push(() => sender.close());
    const chain = viemChainPort({
      ...{ client: client as never, sender, deployment, payeesOf: (id) => mirror.payeesOf(id) },
      ...{ maxRange: 10_000, confirmations: 0 },
    });
    const posting = { batchReceipts: 1, batchSeconds: 1 };
    this.#settler = new Settler({ journal, sequencer, chain, directory: this.published, windows, ...posting });

    const { channel, key: privateKey } = channels[0];
    this.channel = channel;
    const payments = join(root, "home", "payments");
    mkdirSync(payments, { recursive: true });
    this.ledgerFile = join(payments, `${deployment.chainId}-${channel}.sqlite`);
    this.ledger = new PayerLedger({ file: this.ledgerFile, channel, domain, privateKey });
    this.closers.push(() => this.ledger.close());
    writeFileSync(join(root, "addresses.json"), JSON.stringify(deployment));
  }

  /** Asks, paid. @returns The job's id. */
  async ask(question: string): Promise<Hex> {
    const response = await payingFetch({ ledger: this.ledger })(`${this.gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "guide", max_tokens: 8, messages: [{ role: "user", content: question }] }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
    return response.headers.get("x-openledger-job") as Hex;
  }

  /** Posts what was answered, and waits until the registries' copy shows it. */
  async post(): Promise<void> {
    for (let left = 200; ; left--) {
      await this.#settler.round();
      const { tip } = await this.world.stage.contracts.settlement.read.chainOf([this.id]);
      await this.world.mirror.sync();
      const receipts = this.world.mirror.batches(this.id).reduce((sum, { header }) => sum + header.count, 0);
      if (tip > 0n && receipts === this.ledger.history().filter(({ state }) => state === "charged").length) return;
      if (left === 0) {
        const now = { chain: await this.world.stage.now(), machine: Math.floor(Date.now() / 1_000), tip, receipts };
        throw new Error(`Not posted: ${inspect(now)} ${inspect(this.#settler.health())}`);
      }
      await sleep(100);
    }
  }

  async close(): Promise<void> {
    for (const close of this.closers.splice(0).reverse()) await close();
  }
}
