import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { ContentFetcher } from "../../../operator/chain/content.ts";
import type { RegistryMirror } from "../../../operator/chain/mirror.ts";
import type { Engine } from "../../../operator/engine/engine.ts";
import { startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { JobServer } from "../../../operator/serving/job-server.ts";
import { benchCache } from "../shapes.ts";
import type { EngineSize, TimedAnswer } from "./bench-node.ts";

/** An engine of the same size in this process, without HTTP, payment, Redis or journal around it. */
export class EngineAlone {
  readonly #engine: Engine;
  readonly #server: JobServer;
  readonly #agent: number;

  private constructor(engine: Engine, server: JobServer, agent: number) {
    this.#engine = engine;
    this.#server = server;
    this.#agent = agent;
  }

  static async start(
    { memoryMiB, ...size }: EngineSize,
    { mirror, folder, agent }: { mirror: RegistryMirror; folder: string; agent: number },
  ): Promise<EngineAlone> {
    const settings = { ...size, slots: 1, maxRank: 8, memoryBytes: memoryMiB * 2 ** 20 };
    const engine = await startEmbeddedEngine({ ...settings, exact: true, cache: join(benchCache(), "graphs") });
    const fetcher = new ContentFetcher({ cache: join(folder, "content-alone"), ipfsGateways: [], folders: [] });
    const directory = join(folder, "alone");
    return new EngineAlone(
      engine,
      await JobServer.start({ engine, mirror, fetcher, model: size.model, directory }),
      agent,
    );
  }

  /** Serves the same job as the node does: the prompt composed, the answer generated and measured. */
  async serve(question: string, maxTokens: number): Promise<TimedAnswer> {
    const started = performance.now();
    let firstMs: number | undefined;
    const job = {
      jobId: toHex(randomBytes(32)),
      agent: this.#agent,
      version: 1,
      payer: "1",
      maxPrice: 10n ** 17n,
      prompt: { messages: [{ role: "user", content: question }] },
      sampling: { temperature: 0 },
      maxTokens,
    };
    const piece = ({ text }: { text: string }) => {
      if (text !== "") firstMs ??= performance.now() - started;
    };
    const { completionTokens } = await this.#server.serve(job, piece, new AbortController().signal);
    return { firstMs: firstMs ?? Number.NaN, totalMs: performance.now() - started, tokens: completionTokens };
  }

  /** Generates without measuring who helped. */
  async generate(question: string, maxTokens: number): Promise<TimedAnswer> {
    const started = performance.now();
    let firstMs: number | undefined;
    let tokens = 0;
    const prompt = { messages: [{ role: "user", content: question }] };
    for await (const event of this.#engine.generate({ prompt, sampling: { temperature: 0 }, maxTokens })) {
      if (event.type !== "token") continue;
      tokens++;
      if (event.text !== "") firstMs ??= performance.now() - started;
    }
    return { firstMs: firstMs ?? Number.NaN, totalMs: performance.now() - started, tokens };
  }

  async close(): Promise<void> {
    await this.#server.close();
    await this.#engine.close();
  }
}
