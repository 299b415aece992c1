import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import type { JobEvent, LostEvent } from "../../../operator/queue/job-events.ts";
import { JobQueue, type JobQueueOptions } from "../../../operator/queue/job-queue.ts";
import { JobWorker, type JobWorkerOptions } from "../../../operator/queue/job-worker.ts";
import type { Sequencer } from "../../../operator/settlement/sequencer.ts";
import { type RunningRedis, startRedis } from "../../../scripts/redis.ts";
import { resigned } from "../protocol/jobs.ts";
import { customersOf, Office } from "../settlement/office.ts";
import { codec, type Dictation, serveDictation } from "./dictation.ts";

/** A Redis that may die and come back, behind an address that stays. */
export class MortalRedis {
  readonly #folder = mkdtempSync(join(tmpdir(), "openledger-queue-"));
  readonly #sockets = new Set<Socket>();
  #running: RunningRedis | undefined;
  readonly #door = createServer((client) => this.#pass(client));

  static async start(): Promise<MortalRedis> {
    const redis = new MortalRedis();
    await redis.revive();
    await new Promise<void>((resolve) => redis.#door.listen(0, "127.0.0.1", resolve));
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#door.address() as { port: number }).port}`;
  }

  /** With what its append-only file has. */
  async revive(): Promise<void> {
    // One that the tests may kill.
    delete process.env.REDIS_URL;
    this.#running = await startRedis({ dir: this.#folder });
  }

  /** As `kill -9` does. */
  async kill(): Promise<void> {
    const redis = this.client();
    const pid = Number(/^process_id:(\d+)/m.exec(await redis.info("server"))![1]);
    redis.disconnect();
    process.kill(pid, "SIGKILL");
    this.#running = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  client(): Redis {
    const redis = new Redis(this.url, { maxRetriesPerRequest: null });
    redis.on("error", () => {});
    return redis;
  }

  async flush(): Promise<void> {
    const redis = this.client();
    await redis.flushall();
    redis.disconnect();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#door.close();
    await this.#running?.stop();
    rmSync(this.#folder, { recursive: true });
  }

  #pass(client: Socket): void {
    this.#sockets.add(client);
    client.on("error", () => {}).on("close", () => this.#sockets.delete(client));
    if (!this.#running) return void client.destroy();
    const server = connect(Number(new URL(this.#running.url).port), "127.0.0.1");
    server.on("error", () => client.destroy()).on("close", () => client.destroy());
    client.on("close", () => server.destroy());
    client.pipe(server).pipe(client);
  }
}

/** A sequencer with its journal, payers, and queues and workers on one Redis under a prefix of their own. */
export class Plant {
  readonly redis: MortalRedis;
  readonly prefix = `t${randomUUID().slice(0, 8)}`;
  readonly office: Office;
  readonly queue: JobQueue;
  readonly warnings: string[] = [];
  readonly #workers: JobWorker[] = [];
  readonly #queues: JobQueue[] = [];
  readonly #nonces = new Map<number, bigint>();
  #salt = 0;

  constructor(redis: MortalRedis, options: { seed?: number; limits?: JobQueueOptions["limits"] } = {}) {
    this.redis = redis;
    this.office = new Office(customersOf(options.seed ?? 7));
    const limits = { jobsInFlight: 1_000, burst: 1_000, ...options.limits };
    this.queue = this.open({ limits, retryPause: 10 });
  }

  get channels(): number[] {
    return this.office.customers.world.channels;
  }

  get now(): number {
    return this.office.customers.world.now - 1;
  }

  open(options: Partial<JobQueueOptions> = {}): JobQueue {
    const queue = new JobQueue({ redis: this.redis.url, prefix: this.prefix, ...options });
    this.#queues.push(queue);
    return queue;
  }

  work(options: Partial<JobWorkerOptions> = {}): JobWorker {
    const sequencer: Sequencer = this.office.sequencer;
    const shared = { redis: this.redis.url, prefix: this.prefix, sequencer, serve: serveDictation, ...codec };
    const warn = (message: string) => this.warnings.push(message);
    const worker = new JobWorker({ ...shared, clock: () => this.now, warn, ...options });
    this.#workers.push(worker);
    return worker;
  }

  /** Signs and admits a job that is served as dictated. */
  async admit(dictation: Dictation, channel = this.channels[0], life = 3_000): Promise<Hex> {
    const { world } = this.office.customers;
    const nonce = (this.#nonces.get(channel) ?? 0n) + 1n;
    this.#nonces.set(channel, nonce);
    const request = new TextEncoder().encode(JSON.stringify({ ...dictation, salt: this.#salt++ }));
    const salt = world.dice.bytes(32);
    const maxPrice = 10n ** 15n;
    const { signature, ...voucher } = resigned(world, {
      channel,
      nonce,
      ...world.agents[0],
      requestHash: saltedHash(salt, request),
      maxPrice,
      cap: world.registry.channel(channel)!.deposit,
      expiry: BigInt(this.now + life),
    });
    const paid = { voucher, signature: toHex(signature), request, salt: toHex(salt) };
    return (await this.office.sequencer.admit(paid)).jobId;
  }

  async ask(dictation: Dictation, channel = this.channels[0]): Promise<Hex> {
    const jobId = await this.admit(dictation, channel);
    await this.queue.add({ jobId, channel, agent: 1 });
    return jobId;
  }

  /** All events of a job to its end; `lost` is passed over, as by a gateway that finds the job unfinished. */
  async hear(jobId: Hex, from = 0): Promise<Exclude<JobEvent, LostEvent>[]> {
    const heard: JobEvent[] = [];
    for await (const event of this.queue.events(jobId, { from })) if (event.type !== "lost") heard.push(event);
    return heard;
  }

  async state(jobId: Hex): Promise<string | undefined> {
    return (await this.office.sequencer.job(jobId))?.state;
  }

  get receipts(): number {
    return this.office.sequencer.openReceipts;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close({ force: true })));
    await Promise.all(this.#queues.map((queue) => queue.close()));
    this.office.close();
  }
}

/** Waits until something holds; the test's own time limit ends a wait in vain. */
export async function until(holds: () => unknown): Promise<void> {
  while (!(await holds())) await sleep(10);
}
