import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startRedis } from "../redis.ts";
import { serveChain } from "../stage/serve-chain.ts";
import { openStage, type Stage } from "../stage/stage.ts";
import type { Fact } from "../train/facts.ts";
import { type Bundle, KNOWLEDGE, readBundle } from "./bundle.ts";
import { type Gauge, serveGauge } from "./gauge.ts";
import { servePublished } from "./mallory.ts";
import { type Operator, registerOlga, startOperator } from "./olga.ts";
import { openPayer, type Payer } from "./payers.ts";
import { People } from "./people.ts";
import { heading, line, open, seconds } from "./print.ts";
import { drawReadings } from "./questions.ts";
import { Registrar, type Registry } from "./registry.ts";

/** Seconds in which a batch may be challenged here. The contracts take other windows; on a main network it is a day. */
const CHALLENGE = 120;
const DEPOSIT = 5n * 10n ** 18n;
/** Question, tool and time: the same each time the story is told. */
export const SEED = 7;

/** What the story plays on: everything that runs, and everybody in it. */
export interface World {
  folder: string;
  stage: Stage;
  rpc: string;
  /** File with the contracts' addresses. */
  addresses: string;
  people: People;
  bundle: Bundle;
  registry: Registry;
  /** Folder of all that was registered. */
  published: string;
  gauge: Gauge;
  /** What the tool knows and no document says. */
  readings: Fact[];
  olga: Operator;
  payers: Payer[];
  /** Where Mallory publishes. */
  mallory: { origin: string; folder: string };
}

export interface WorldOptions {
  /** For everything that is written. */
  folder: string;
  /** Paid questions that there will be: they fill one batch. */
  jobs: number;
  /** Is told what to close; the last first. */
  atClose: (close: () => unknown) => void;
}

/** Chapters 1 to 3: the chain, the people with what they register, the node, the channels. */
export async function openWorld({ folder, jobs, atClose }: WorldOptions): Promise<World> {
  heading("1. A chain with the contracts, and a Redis");
  const started = performance.now();
  const [stage, redis] = await Promise.all([
    openStage({ windows: { challenge: CHALLENGE }, blockEvery: 1_000 }),
    startRedis({ say: line }),
  ]);
  atClose(() => stage.close());
  atClose(() => redis.stop());
  const chain = await serveChain(stage);
  atClose(() => chain.close());
  const addresses = join(folder, "addresses.json");
  writeFileSync(addresses, JSON.stringify(stage.deployment, null, 2));
  line(
    `${Object.keys(stage.deployment.contracts).length} contracts on chain ${stage.deployment.chainId} at ${chain.url}`,
  );
  line(`Redis out of ${redis.source} (both after ${seconds(performance.now() - started)})`);

  heading("2. People register what they made; agents compose it");
  const bundle = readBundle();
  const transactions = join(folder, "transactions");
  mkdirSync(transactions, { recursive: true });
  const people = new People(stage, transactions);
  atClose(() => people.close());
  const readings = drawReadings(KNOWLEDGE[1], 6, SEED);
  const gauge = await serveGauge(readings);
  atClose(() => gauge.close());
  const published = join(folder, "published");
  const registry = await register({
    people,
    bundle,
    published,
    folder: join(folder, "files"),
    toolEndpoint: gauge.endpoint,
  });

  heading("3. Olga becomes an operator, Paul and Quinn open channels to her, her node starts");
  const malloryFolder = join(folder, "mallory");
  mkdirSync(malloryFolder, { recursive: true });
  const malloryServer = await servePublished(malloryFolder);
  atClose(() => malloryServer.close());
  const operator = await registerOlga(stage, people);
  line(`Olga is operator ${operator.id}, with a bond of ${open(stage.parameters.minimumBond)}`);
  const paying = { stage, people, folder: join(folder, "payments") };
  const payers = await Promise.all(["Paul", "Quinn"].map((name) => openPayer(paying, name, operator, DEPOSIT)));
  for (const { ledger } of payers) atClose(() => ledger.close());
  for (const { person, channel } of payers) line(`${person.name} deposits ${open(DEPOSIT)} on channel ${channel}`);
  const opening = performance.now();
  const olga = await startOperator({
    ...{ stage, people, operator, folder, rpc: chain.url, redis: redis.url, model: bundle.model },
    contentFolders: [published],
    toolOrigin: gauge.origin,
    trustedOrigins: [malloryServer.origin],
    batchReceipts: jobs,
  });
  atClose(() => olga.node.close());
  line(`Her node answers at ${olga.url}: gateway, worker, settler, watcher (${seconds(performance.now() - opening)})`);
  const mallory = { origin: malloryServer.origin, folder: malloryFolder };
  return {
    folder,
    stage,
    rpc: chain.url,
    addresses,
    people,
    bundle,
    registry,
    published,
    gauge,
    readings,
    olga,
    payers,
    mallory,
  };
}

async function register(options: ConstructorParameters<typeof Registrar>[0]): Promise<Registry> {
  const started = performance.now();
  const registry = await new Registrar(options).registerAll();
  const { adapters } = options.bundle;
  const count = (start: string) => registry.entries.filter(({ what }) => what.startsWith(start)).length;
  const data = registry.entries.filter(({ what }) => what.includes("documents of")).length;
  line(
    `${KNOWLEDGE.length} DataNets of facts and ${adapters.length} that adapters were trained on, ${data} contributions in all`,
  );
  line(`${count("adapter")} adapters, ${count("prompt")} prompt, ${count("tool")} tool on an MCP server of its own`);
  line(`${registry.agents.length} agents: ${registry.agents.map(({ name }) => name).join(", ")}`);
  line(
    `All of it from ${(await options.people.all()).length} wallets, content under its hash (${seconds(performance.now() - started)})`,
  );
  return registry;
}
