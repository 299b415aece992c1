import { keccak256, toBytes } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { fromHex, toHex } from "../../operator/protocol/bytes.ts";
import { type CapLedger, openCapLedger } from "../../operator/protocol/cap-ledger.ts";
import { type Composition, EMPTY_POOL, encodeComposition } from "../../operator/protocol/composition.ts";
import type { Stage } from "./stage.ts";

const OPEN = 10n ** 18n;

/** Somebody with a wallet. */
export interface Person {
  name: string;
  account: Stage["wallets"][number]["account"];
}

/** A payer's channel to an operator, with the session key that signs for it and the payer's own books. */
export interface PaidChannel {
  payer: Person;
  channel: number;
  key: Uint8Array;
  ledger: CapLedger;
}

export interface Operator {
  person: Person;
  id: number;
  channels: PaidChannel[];
}

/** What was registered, by id, for people to read. */
export interface Registered {
  names: Map<number, { what: string; owner: Person }>;
  contributions: number[];
  tool: number;
  agent: number;
  composition: Composition;
}

/** Roles in the story, each with a wallet of its own. The first two are the deployer and the treasury. */
export function cast(stage: Stage) {
  const people = ["Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Gita", "Olga", "Mallory", "Paul", "Quinn", "Wei"];
  return Object.fromEntries(people.map((name, i) => [name, { name, account: stage.wallets[i + 2].account }])) as Record<
    string,
    Person
  >;
}

const hash = (text: string) => keccak256(toBytes(text));

/** A DataNet with documents from three people, an adapter trained on it, a prompt, a tool, and the agent of them all. */
export async function registerEverything(stage: Stage, people: Record<string, Person>): Promise<Registered> {
  const { contracts: c, gasOf } = stage;
  const { Ada, Ben, Chen, Dora, Emil, Fatima, Gita } = people;
  const names: Registered["names"] = new Map();
  const last = async (what: string, owner: Person) => {
    const id = await c.allocator.read.lastId();
    names.set(id, { what, owner });
    return id;
  };
  const uri = "ipfs://content-is-addressed-by-its-hash";
  const text = [uri, "CC-BY-4.0", []] as const;

  await gasOf(c.dataNets.write.createDataNet(["Rivers", hash("rivers"), ...text], { account: Ada.account }));
  const dataNet = await last('DataNet "Rivers"', Ada);
  const contributions: number[] = [];
  for (const [owner, title] of [
    [Ada, "Flood records"],
    [Ben, "Fish counts"],
    [Chen, "Bridge surveys"],
    [Chen, "Water law"],
  ] as const) {
    const given = [dataNet, hash(title), uri, "CC-BY-4.0", 12, 48_000, []] as const;
    await gasOf(c.dataNets.write.submit(given, { account: owner.account }));
    contributions.push(await last(`data "${title}"`, owner));
  }
  await gasOf(c.dataNets.write.accept([contributions], { account: Ada.account }));
  await gasOf(c.dataNets.write.publishVersion([dataNet], { account: Ada.account }));

  const baseModel = hash("base model");
  const version = { baseModel, weightsHash: hash("weights"), rank: 16, targetModules: "q_proj,v_proj" };
  const lineage = [{ dataNet, version: 1 }];
  await gasOf(c.adapters.write.register(["Hydrology", { ...version, lineage }, ...text], { account: Dora.account }));
  const adapter = await last('adapter "Hydrology"', Dora);
  await gasOf(c.prompts.write.register(["Terse", hash("terse"), ["question"], ...text], { account: Emil.account }));
  const prompt = await last('prompt "Terse"', Emil);
  const endpoint = "https://gauge.example/mcp";
  await gasOf(c.tools.write.register(["Gauge", hash("gauge"), endpoint, ...text], { account: Gita.account }));
  const tool = await last('tool "Gauge"', Gita);

  await gasOf(c.agents.write.create(["river-guide", hash("river-guide"), ...text], { account: Fatima.account }));
  const agent = await last('agent "river-guide"', Fatima);
  const composition: Composition = {
    baseModel: fromHex(baseModel),
    pricePerJob: OPEN / 1_000n,
    pricePerPromptToken: OPEN / 1_000_000n,
    pricePerCompletionToken: (4n * OPEN) / 1_000_000n,
    split: {
      operator: 300_000,
      publisher: 100_000,
      adapters: 100_000,
      prompt: 50_000,
      context: 300_000,
      training: 100_000,
      tool: 50_000,
    },
    emptyContext: EMPTY_POOL.proRata,
    emptyTraining: EMPTY_POOL.adapters,
    emptyTool: EMPTY_POOL.publisher,
    contextMeasure: 0,
    trainingMeasure: 0,
    prompt: { id: prompt, version: 1 },
    adapters: [{ id: adapter, version: 1, share: 1_000_000, scale: 1_000_000 }],
    dataNets: [{ id: dataNet, version: 1 }],
    tools: [{ id: tool, version: 1 }],
  };
  const bytes = toHex(encodeComposition(composition));
  await gasOf(c.agents.write.publishVersion([agent, bytes], { account: Fatima.account }));
  return { names, contributions, tool, agent, composition };
}

/** An operator with its bond, and a channel from each payer. */
export async function openOperator(stage: Stage, person: Person, payers: Person[]): Promise<Operator> {
  const { contracts: c, gasOf, parameters } = stage;
  const { account } = person;
  const bond = parameters.minimumBond;
  await gasOf(
    c.operators.write.register([`https://${person.name.toLowerCase()}.example`, account.address], { account }),
  );
  const id = await c.operators.read.operatorCount();
  await gasOf(c.token.write.transfer([account.address, bond]));
  await gasOf(c.token.write.approve([c.operators.address, bond], { account }));
  await gasOf(c.operators.write.depositBond([id, bond], { account }));
  const channels: PaidChannel[] = [];
  for (const payer of payers) {
    const deposit = 10n * OPEN;
    await gasOf(c.token.write.transfer([payer.account.address, deposit]));
    await gasOf(c.token.write.approve([c.channels.address, deposit], { account: payer.account }));
    const key = generatePrivateKey();
    const opened = c.channels.write.open([id, privateKeyToAddress(key), deposit], { account: payer.account });
    await gasOf(opened);
    const channel = await c.channels.read.channelCount();
    channels.push({ payer, channel, key: fromHex(key), ledger: openCapLedger() });
  }
  return { person, id, channels };
}
