import { existsSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { bundledModel } from "../engine/bundled-model.ts";
import { isRemoteEngineAddress } from "../engine/remote/connect.ts";
import { placeOf } from "../hub/hub-name.ts";
import { ConfigError } from "./config-error.ts";

const text = z.string().min(1);
const seconds = z.number().positive();
const whole = z.number().int().positive();
const port = z.number().int().min(0).max(65_535);
const httpAddress = z.string().regex(/^https?:\/\/\S+$/, "must be an http or https address");
const redisAddress = z.string().regex(/^rediss?:\/\/\S+$/, "must be an address like redis://127.0.0.1:6379");
const hash = z.string().regex(/^0x[0-9a-fA-F]{64}$/, "must be 0x and 64 digits");
const decimal = z.string().regex(/^\d+(\.\d{1,18})?$/, 'must be a decimal number in quotes, like "0.25"');

const schema = z.strictObject({
  operator: whole.describe("Number of the operator whose node this is."),
  data: text.default("openledger-data").describe("Folder for journal, mirror, published data and caches."),
  keystore: text
    .optional()
    .describe("Encrypted wallet of the account that posts; OPENLEDGER_PRIVATE_KEY stands for it."),
  chain: z
    .strictObject({
      rpc: httpAddress.describe("JSON-RPC endpoint."),
      addresses: text.optional().describe("File with the contracts' addresses, for chains that are not known here."),
      confirmations: z
        .number()
        .int()
        .min(0)
        .optional()
        .describe("Blocks after which the chain is believed; without it the chain's own notion of finality."),
      maxRange: whole.default(10_000).describe("Blocks in one request for logs at most."),
      intervalSeconds: seconds.default(4).describe("Between two looks at the chain."),
    })
    .describe("The chain."),
  redis: z
    .strictObject({
      url: redisAddress.optional().describe("Redis of the queue; REDIS_URL stands for it."),
      prefix: text.optional().describe("In front of all keys. Default: openledger- and the operator's number."),
    })
    .prefault({})
    .describe("The queue; for gateways, workers and the settler."),
  sequencer: z
    .strictObject({
      url: httpAddress.optional().describe("Where gateways and workers on other machines find the settler."),
      host: text
        .default("127.0.0.1")
        .describe("Where the settler listens for them: a private network, never the internet."),
      port: port
        .optional()
        .describe("Port for them. Without it, a settler with gateway and worker beside it has none."),
      secretFile: text.optional().describe("File with what they share, at least 32 characters, mode 0600."),
    })
    .prefault({})
    .describe("The one writer of the books."),
  gateway: z
    .strictObject({
      host: text.default("127.0.0.1").describe("Address that the HTTP API listens on."),
      port: port.default(8_787).describe("Its port."),
      cors: z.array(text).default([]).describe('Origins of web pages that may use it; "*" for all.'),
      baseModels: z.array(hash).default([]).describe("Base models that workers elsewhere have; none named: any."),
      contextTokens: whole.optional().describe("Tokens that passages and prompt may add to a question, for quotes."),
      answerTokens: whole.optional().describe("Tokens of an answer whose client gave no maximum, for quotes."),
      jobsInFlight: whole.optional().describe("Jobs of one channel in the queue at most."),
      requestsPerSecond: z.number().positive().optional().describe("Jobs of one channel in a second at most."),
    })
    .prefault({})
    .describe("The HTTP API."),
  engine: z
    .strictObject({
      model: text.describe(
        "Folder of the base model, its name on the Hugging Face hub (org/name@commit), or the address of a server: vllm+http://host:8000. Default: the model that comes with this program.",
      ),
      quantisation: z.enum(["f32", "q8", "q4"]).optional().describe("How weights are kept. Default by size."),
      threads: whole.optional().describe("Threads that compute. Default: all processors."),
      provider: z.enum(["cpu", "webgpu", "cuda"]).optional().describe("What computes. Default: the processor."),
      memoryMiB: whole.optional().describe("Memory that it may take. Default: 60 % of the machine's."),
      slots: whole.optional().describe("Adapters to compute with at once."),
      maxRank: whole.optional().describe("Largest rank of an adapter. Default 16."),
      maxBatch: whole.optional().describe("Sequences in one step."),
      sparse: z
        .strictObject({
          sinkBlocks: z.int().min(0).optional().describe("First blocks of 64 tokens that all attend to. Default 1."),
          localBlocks: whole.describe(
            "Block-sparse attention: latest blocks, a token's own included, that it attends to. It changes what a model says, and every trace tells. Default: all.",
          ),
          stride: z
            .int()
            .min(0)
            .optional()
            .describe("Every so many-th block is attended to by all after it. Default 0: none."),
        })
        .optional(),
    })
    .optional()
    .describe("What answers; for workers."),
  worker: z
    .strictObject({
      concurrency: whole.default(32).describe("Jobs served at once."),
      passages: whole
        .optional()
        .describe("Passages in one prompt at most. Default 8; less for models that lose the thread."),
      influenceThreads: whole.default(1).describe("Threads that measure the influence of training data."),
      tools: z
        .strictObject({
          trustedEndpoints: z.array(text).default([]).describe("Beginnings of tools' addresses on private networks."),
          allowedCommands: z.array(hash).default([]).describe("Manifests whose commands may run here as this user."),
        })
        .prefault({})
        .describe("What agents' tools may do on this machine."),
    })
    .prefault({})
    .describe("Serving jobs."),
  settlement: z
    .strictObject({
      intervalSeconds: seconds.default(15).describe("Between two rounds."),
      batchReceipts: whole.max(16_384).default(2_000).describe("Receipts that close a batch."),
      batchSeconds: seconds.default(600).describe("Age that closes a batch."),
      maxGasPriceGwei: decimal.optional().describe("Gas price above which posting waits."),
      coinPerOpen: decimal
        .optional()
        .describe("What one OPEN is worth in the chain's coin: batches wait for their gas."),
      patienceSeconds: seconds
        .optional()
        .describe("Age from which a batch is posted at any price. Default: half of P."),
      alarmAfterSeconds: seconds.default(10_800).describe("Age of something unposted that gives the alarm."),
      keepAnswersForDays: seconds.optional().describe("After it, requests, answers and traces of final batches go."),
      keepFailedForHours: seconds.default(24).describe("After it, jobs that failed are forgotten."),
      failedRequestsMiB: whole.default(256).describe("Requests of failed jobs that are kept; the oldest make room."),
    })
    .prefault({})
    .describe("Taking receipts to the chain."),
  watcher: z
    .strictObject({
      intervalSeconds: seconds.default(60).describe("Between two rounds."),
      prove: z.boolean().default(true).describe("Whether lies are proven, and withheld data demanded: it costs gas."),
      demandsPerRound: whole.default(8).describe("Chunks demanded in a round at most."),
      data: z.array(httpAddress).default([]).describe("Archives of published data, beside the operators' own."),
      sample: z.number().int().min(0).default(0).describe("Jobs paid for from here that a round does again at most."),
      sampleDays: seconds.default(7).describe("Age in days from which a paid job is left alone."),
      ledgers: z
        .array(text)
        .default([])
        .describe("Files of payers' ledgers. Default: all that this user's payments on the chain have."),
      model: text
        .optional()
        .describe(
          "Base model that does them again: its folder, or its name on the Hugging Face hub (org/name@commit). Default: engine.model.",
        ),
      threads: whole.default(1).describe("Threads that do them again."),
      memoryMiB: whole.default(2_048).describe("Memory for it, while a sample is done again."),
    })
    .prefault({})
    .describe("Checking every operator."),
  content: z
    .strictObject({
      ipfsGateways: z.array(httpAddress).default(["https://ipfs.io"]).describe("Gateways for ipfs:// addresses."),
      folders: z.array(text).default([]).describe("Folders from which file:// addresses may be read."),
      trustedOrigins: z.array(httpAddress).default([]).describe("Servers on private networks that may be asked."),
      maxMiB: whole.optional().describe("Largest content. Default 1,024."),
    })
    .prefault({})
    .describe("Where registered content comes from."),
  health: z
    .strictObject({
      host: text.default("127.0.0.1").describe("Address for /health and /metrics of nodes without a gateway."),
      port: port.optional().describe("Its port; none unless given."),
    })
    .prefault({})
    .describe("How nodes without a gateway are looked at."),
  shutdownSeconds: seconds.default(30).describe("Time for what is being answered when the node is stopped."),
});

/** `openledger.json`, with every default filled in and every path absolute. */
export type NodeConfig = z.output<typeof schema>;

/** What comes from the command line or the environment, and counts more than the file. */
export interface ConfigOverrides {
  rpc?: string;
  addresses?: string;
  redis?: string;
  keystore?: string;
  data?: string;
  model?: string;
  host?: string;
  port?: number;
  sequencerUrl?: string;
}

/** One line for each field: its name, its default and what it is. For documentation and for mistaken names. */
export function configFields(): { name: string; description: string; default: unknown }[] {
  return fieldsOf(schema, "");
}

/**
 * Reads a node's configuration.
 *
 * @param path `openledger.json`; paths in it are taken from its folder.
 * @throws {ConfigError} That names the field.
 */
export function readConfig(path: string, overrides: ConfigOverrides = {}): NodeConfig {
  const given: unknown = parse(path);
  const parsed = schema.safeParse(merged(given, overrides), { reportInput: true });
  if (!parsed.success) throw new ConfigError(path, parsed.error.issues.map(sentence));
  return located(parsed.data, dirname(resolve(path)));
}

/** For a worker whose settings name no model. @returns Undefined when there is nothing to fall back to. */
export function withBundledModel(config: NodeConfig): NodeConfig | undefined {
  const model = config.engine?.model ?? bundledModel();
  return model === undefined ? undefined : { ...config, engine: { ...config.engine, model } };
}

function parse(path: string): unknown {
  if (!existsSync(path)) {
    throw new ConfigError(path, ['there is no such file: make one with "openledger init", or name one with --config']);
  }
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new ConfigError(path, [`it is no JSON: ${(error as Error).message}`]);
  }
}

function merged(given: unknown, over: ConfigOverrides): unknown {
  if (typeof given !== "object" || given === null) return given;
  const config = structuredClone(given) as Record<string, Record<string, unknown> | unknown>;
  const put = (section: string, name: string, value: unknown) => {
    if (value === undefined) return;
    const known = config[section];
    config[section] = { ...(typeof known === "object" ? known : {}), [name]: value };
  };
  const { engine } = config;
  if (typeof engine === "object" && engine !== null && !("model" in engine)) put("engine", "model", bundledModel());
  put("chain", "rpc", over.rpc);
  put("chain", "addresses", over.addresses && resolve(over.addresses));
  put("redis", "url", over.redis);
  put("engine", "model", over.model && modelAt(over.model, process.cwd()));
  put("gateway", "host", over.host);
  put("gateway", "port", over.port);
  put("sequencer", "url", over.sequencerUrl);
  if (over.keystore !== undefined) config.keystore = resolve(over.keystore);
  if (over.data !== undefined) config.data = resolve(over.data);
  return config;
}

function sentence(issue: z.core.$ZodIssue): string {
  const at = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const where = at === "" ? "" : `${at}.`;
    return `${issue.keys.map((key) => `${where}${key}`).join(" and ")}: no such field`;
  }
  if (issue.code === "invalid_type" && issue.input === undefined) return `${at}: is missing`;
  return `${at || "the file"}: ${issue.message}`;
}

function located(config: NodeConfig, folder: string): NodeConfig {
  const here = (path: string) => (isAbsolute(path) ? path : resolve(folder, path));
  const { engine, chain, sequencer, keystore, content, watcher } = config;
  return {
    ...config,
    data: here(config.data),
    ...(keystore !== undefined && { keystore: here(keystore) }),
    chain: { ...chain, ...(chain.addresses !== undefined && { addresses: here(chain.addresses) }) },
    sequencer: { ...sequencer, ...(sequencer.secretFile !== undefined && { secretFile: here(sequencer.secretFile) }) },
    content: { ...content, folders: content.folders.map(here) },
    watcher: {
      ...watcher,
      ledgers: watcher.ledgers.map(here),
      ...(watcher.model !== undefined && { model: folderOrName(watcher.model, folder) }),
    },
    ...(engine && {
      engine: { ...engine, model: modelAt(engine.model, folder) },
    }),
  };
}

/** A server's address and a name on a hub as they are, a path made absolute. */
function modelAt(model: string, folder: string): string {
  return isRemoteEngineAddress(model) ? model : folderOrName(model, folder);
}

/** A name on a hub as it is, a path made absolute. */
function folderOrName(model: string, folder: string): string {
  const place = placeOf(model, folder);
  return "folder" in place ? place.folder : model;
}

function fieldsOf(type: z.ZodType, prefix: string): { name: string; description: string; default: unknown }[] {
  const inner = unwrapped(type);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([key, field]) => {
    const name = prefix === "" ? key : `${prefix}.${key}`;
    const fallback = field instanceof z.ZodDefault ? field.def.defaultValue : undefined;
    const nested = fieldsOf(field, name);
    return nested.length > 0 ? nested : [{ name, description: field.description ?? "", default: fallback }];
  });
}

function unwrapped(type: z.ZodType): z.ZodType {
  if (type instanceof z.ZodOptional || type instanceof z.ZodDefault || type instanceof z.ZodPrefault) {
    return unwrapped(type.def.innerType as z.ZodType);
  }
  return type;
}
