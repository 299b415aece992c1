import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answerBytes } from "../../../operator/api/answer-bytes.ts";
import { askedJobOf } from "../../../operator/api/asked-job.ts";
import type { GatewayOptions, GatewayRegistry } from "../../../operator/gateway/gateway-options.ts";
import { type RunningGateway, startGateway } from "../../../operator/gateway/start-gateway.ts";
import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import type { Quote } from "../../../operator/payments/quote.ts";
import { requestBytes } from "../../../operator/payments/request-bytes.ts";
import { encodePaymentSignature, type SignedPayment } from "../../../operator/payments/x402/payment-signature.ts";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { headerHash } from "../../../operator/protocol/header.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import type { Voucher } from "../../../operator/protocol/voucher.ts";
import { publishData } from "../../../operator/settlement/publication.ts";
import { earnersOf, resigned } from "../protocol/jobs.ts";
import { type MortalRedis, Plant } from "../queue/plant.ts";
import { storyteller } from "./storyteller.ts";

export const ASSET: Hex = `0x${"0e".repeat(20)}`;

/** A voucher made by hand, to be bent. */
export interface HandSigned {
  payment: SignedPayment;
  /** Value of `PAYMENT-SIGNATURE`. */
  header: string;
}

/** A gateway with books, queue and a worker, and payers that sign. */
export class TestNode {
  readonly plant: Plant;
  readonly gateway: RunningGateway;
  readonly folder: string;
  /** What the gateway did not foresee. */
  readonly errors: unknown[];
  readonly model: string;
  #ledgers: PayerLedger[] = [];

  private constructor(plant: Plant, gateway: RunningGateway, folder: string, errors: unknown[], model: string) {
    this.plant = plant;
    this.gateway = gateway;
    this.folder = folder;
    this.errors = errors;
    this.model = model;
  }

  static async open(redis: MortalRedis, options: Partial<GatewayOptions> = {}): Promise<TestNode> {
    const plant = new Plant(redis, { seed: 11 });
    const { world } = plant.office.customers;
    const folder = mkdtempSync(join(tmpdir(), "openledger-gateway-"));
    const errors: unknown[] = [];
    const gateway = await startGateway({
      operator: world.operator,
      domain: world.domain,
      asset: ASSET,
      voucherLife: world.windows.voucherLife,
      registry: registryOf(plant),
      sequencer: plant.office.sequencer,
      queue: plant.queue,
      servesModel: () => true,
      books: plant.office.journal,
      publishedDirectory: folder,
      onError: (error) => errors.push(error),
      ...options,
    });
    const [first, second] = earnersOf(world, world.agents[0]).context;
    const serve = storyteller([
      { ...first, ppm: 600_000 },
      { ...second, ppm: 400_000 },
    ]);
    plant.work({ decode: askedJobOf, encode: answerBytes, serve });
    return new TestNode(plant, gateway, folder, errors, `agent-${world.agents[0].agent}@1`);
  }

  get url(): string {
    return this.gateway.url;
  }

  get world() {
    return this.plant.office.customers.world;
  }

  get sequencer() {
    return this.plant.office.sequencer;
  }

  /** A payer's ledger on its disk. */
  ledger(channel = this.world.channels[0]): PayerLedger {
    const file = join(this.folder, `payer-${channel}-${this.#ledgers.length}.sqlite`);
    const { domain, keys } = this.world;
    const ledger = new PayerLedger({
      file,
      channel,
      domain,
      privateKey: keys.get(channel)!,
      clock: () => this.plant.now,
    });
    this.#ledgers.push(ledger);
    return ledger;
  }

  /** A `fetch` that pays from a channel. */
  pay(channel?: number): typeof fetch {
    return payingFetch({ ledger: this.ledger(channel) });
  }

  /** Signs for a request by hand; `bend` changes the voucher before it is signed. */
  sign(path: string, body: object, bend: Partial<Voucher> = {}, key?: Uint8Array): HandSigned {
    const { world } = this;
    const salt = world.dice.bytes(32);
    const channel = bend.channel ?? world.channels[1];
    const maxPrice = bend.maxPrice ?? 10n ** 16n;
    const { signature, ...voucher } = resigned(
      world,
      {
        channel,
        nonce: 1n,
        ...world.agents[0],
        requestHash: saltedHash(salt, requestBytes(path, body)),
        maxPrice,
        cap: maxPrice,
        expiry: BigInt(this.plant.now + 600),
        ...bend,
      },
      key,
    );
    const payment = { voucher, signature: toHex(signature), salt: toHex(salt) };
    return { payment, header: encodePaymentSignature(payment, this.quote(maxPrice)) };
  }

  quote(maxPrice: bigint): Quote {
    const { world } = this;
    const { agent, version } = world.agents[0];
    const prices = { pricePerJob: 0n, pricePerPromptToken: 0n, pricePerCompletionToken: 0n };
    const terms = { operator: world.operator, agent, version, ...prices };
    return { terms, domain: world.domain, asset: ASSET, maxPrice, voucherLife: world.windows.voucherLife };
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const all = { "content-type": "application/json", ...headers };
    return fetch(`${this.url}${path}`, { method: "POST", headers: all, body: text, ...(signal && { signal }) });
  }

  async get<T = Record<string, unknown>>(path: string, headers: Record<string, string> = {}): Promise<T> {
    const response = await fetch(`${this.url}${path}`, { headers });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  /** Seals the open batch and publishes it, as a settler does. */
  async seal(): Promise<void> {
    const { header, data } = (await this.sequencer.seal())!;
    await publishData(this.folder, header.dataHash, data);
  }

  async close(): Promise<void> {
    await this.gateway.close(0);
    await this.plant.close();
    for (const ledger of this.#ledgers) ledger.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** The world's registries as a mirror shows them; what the settler sealed counts as posted. */
function registryOf(plant: Plant): GatewayRegistry {
  const { registry, world } = plant.office.customers;
  const owner = `0x${"aa".repeat(20)}`;
  const agents = () =>
    [...world.registry.agents].map(([id, versions]) => ({ id, name: `agent-${id}`, owner, head: versions.length }));
  return {
    agents,
    agentByName: (name) => agents().find((agent) => agent.name === name),
    agentVersion: (agent, version) => registry.agentVersion(agent, version),
    lineage: (adapter, version, index) => registry.lineage(adapter, version, index),
    protocolShareAt: (time) => registry.protocolShareAt(time),
    contentOf: (id) => ({ name: `thing-${id}`, kind: "data", contentHash: "0x", licence: "CC0-1.0" }),
    batches: () =>
      plant.office.journal
        .batches()
        .flatMap(({ header }) =>
          header ? [{ header, headerHash: toHex(headerHash(header)), submittedAt: 1, final: false }] : [],
        ),
    head: () => registry.head(),
    health: () => ({ lastSuccess: Date.now() }),
  };
}
