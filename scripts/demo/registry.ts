import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { agentRegistration } from "../../operator/cli/register/agent.ts";
import {
  adapterRegistration,
  dataNetRegistration,
  dataRegistration,
  promptRegistration,
  type Registration,
  toolRegistration,
} from "../../operator/cli/register/contributions.ts";
import { decide, publish } from "../../operator/cli/register/curate.ts";
import type { Skill } from "../train/skills.ts";
import { type Bundle, type BundledAdapter, KNOWLEDGE, type NetFolder, readKnowledge } from "./bundle.ts";
import { GAUGE_MANIFEST } from "./gauge.ts";
import type { People, Person } from "./people.ts";

/** Something that was registered and may earn. */
export interface Entry {
  id: number;
  what: string;
  owner: Person;
}

/** An agent, with what one has to know to ask it something of which the answer is known. */
export interface Agent {
  id: number;
  name: string;
  nets: string[];
  skill?: Skill;
  usesTool: boolean;
}

export interface Registry {
  /** In the order of their ids. */
  entries: Entry[];
  agents: Agent[];
}

/** What is put into one composition. */
interface Plan {
  name: string;
  nets: string[];
  adapter?: string;
  full?: boolean;
}

export interface RegistryOptions {
  people: People;
  bundle: Bundle;
  /** Folder that everything is published in. */
  published: string;
  /** Folder for the files that are registered and are not in the repository. */
  folder: string;
  toolEndpoint: string;
}

const PROMPT = "Answer from the records. {{documents}}\n{{tools}}";
const LICENCE = "CC0-1.0";

/** Registers everything as `openledger register` does, each with the wallet of whoever made it. */
export class Registrar {
  readonly #options: RegistryOptions;
  readonly #entries: Entry[] = [];

  constructor(options: RegistryOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
  }

  async registerAll(): Promise<Registry> {
    const { bundle, people, toolEndpoint } = this.#options;
    const [nets, adapters, prompt, tool] = await Promise.all([
      Promise.all(KNOWLEDGE.map(async (name) => [name, await this.#net("Nora", readKnowledge(name))] as const)),
      Promise.all(bundle.adapters.map(async (one) => [one.skill.name, await this.#adapter(one)] as const)),
      this.#add(
        "prompt",
        "Petra",
        promptRegistration(this.#file("prompt.txt", PROMPT), { ...this.#named("From records"), variable: [] }),
      ),
      this.#add(
        "tool",
        "Gita",
        toolRegistration(this.#file("gauge.json", JSON.stringify(GAUGE_MANIFEST)), {
          ...this.#named("Gauge"),
          endpoint: toolEndpoint,
        }),
      ),
    ]);
    const ids = { nets: new Map(nets), adapters: new Map(adapters), prompt, tool };
    const publisher = await people.get("Fatima");
    const agents: Agent[] = [];
    for (const plan of plansFor(bundle)) agents.push(await this.#agent(plan, ids, publisher));
    return { entries: this.#entries.sort((a, b) => a.id - b.id), agents };
  }

  /** A DataNet with what its contributors gave, accepted and published by its curator. */
  async #net(curator: string, net: NetFolder): Promise<number> {
    const { session } = await this.#options.people.get(curator);
    const { id } = await dataNetRegistration(net.manifest, this.#named(net.title, net.licence))(session);
    const given = await Promise.all(
      net.contributions.map(({ contributor, folder }) => {
        const registration = dataRegistration(folder, { ...this.#terms(net.licence), datanet: id });
        return this.#add(`${net.name}, documents of`, capital(contributor), registration);
      }),
    );
    await decide("accept", given)(session);
    await publish(id)(session);
    return id;
  }

  async #adapter({ skill, folder, trainedOn }: BundledAdapter): Promise<number> {
    const dataNet = await this.#net("Nora", trainedOn);
    const { modelHash } = this.#options.bundle;
    const options = { ...this.#named(skill.title), baseModel: modelHash, trainedOn: [{ dataNet, version: 1 }] };
    return this.#add(`adapter ${skill.name}`, "Dora", adapterRegistration(folder, options));
  }

  async #agent(
    { name, nets, adapter, full }: Plan,
    ids: { nets: Map<string, number>; adapters: Map<string, number>; prompt: number; tool: number },
    publisher: Person,
  ): Promise<Agent> {
    const absent = (adapter ? 0 : 20) + (full ? 0 : 10);
    const composition = {
      baseModel: this.#options.bundle.modelHash,
      prices: { job: "0.0005", promptToken: "0.000002", completionToken: "0.00002" },
      split: {
        ...{ operator: 30, publisher: 10, context: 30 + absent },
        ...(adapter && { adapters: 15, training: 5 }),
        ...(full && { prompt: 5, tool: 5 }),
      },
      // A pool that nothing has moved goes to those who stood ready.
      emptyPools: { context: "proRata", ...(adapter && { training: "adapters" }), ...(full && { tool: "prompt" }) },
      measures: { context: "leaveOneOut", training: "verbatim" },
      ...(full && { prompt: `${ids.prompt}@1`, tools: [`${ids.tool}@1`] }),
      ...(adapter && { adapters: [{ pin: `${ids.adapters.get(adapter)}@1`, share: 100 }] }),
      dataNets: nets.map((net) => `${ids.nets.get(net)}@1`),
    };
    const file = this.#file(`${name}.json`, JSON.stringify(composition, null, 2));
    const { id } = await agentRegistration(file, this.#named(name))(publisher.session);
    this.#entries.push({ id, what: `agent ${name}`, owner: publisher });
    const skill = this.#options.bundle.adapters.find((one) => one.skill.name === adapter)?.skill;
    return { id, name, nets, usesTool: full ?? false, ...(skill && { skill }) };
  }

  async #add(what: string, name: string, registration: Registration): Promise<number> {
    const owner = await this.#options.people.get(name);
    const { id } = await registration(owner.session);
    this.#entries.push({ id, what, owner });
    return id;
  }

  #file(name: string, text: string): string {
    const path = join(this.#options.folder, name);
    writeFileSync(path, text);
    return path;
  }

  #terms(licence: string) {
    return { licence, payee: [], publish: this.#options.published };
  }

  #named(name: string, licence = LICENCE) {
    return { ...this.#terms(licence), name };
  }
}

/** The base model alone, with each adapter, with prompt and tool, and with two DataNets. */
function plansFor({ adapters }: Bundle): Plan[] {
  const general = adapters.filter(({ skill }) => !skill.domains && !skill.units).map(({ skill }) => skill.name);
  const [first] = general;
  return [
    { name: "harbours", nets: ["harbours"] },
    ...adapters.map(({ skill }, i) => {
      const net = skill.domains?.[0] ?? (skill.units ? "harbours" : KNOWLEDGE[i % KNOWLEDGE.length]);
      return { name: `${net}-${skill.name}`, nets: [net], adapter: skill.name };
    }),
    { name: "railways-live", nets: ["railways"], full: true },
    { name: "harbours-and-railways", nets: ["harbours", "railways"], ...(first && { adapter: first }) },
  ];
}

const capital = (name: string) => name[0].toUpperCase() + name.slice(1);
