import { registryLag, type Windows } from "../../../operator/protocol/bounds.ts";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { type Composition, encodeComposition, type Split } from "../../../operator/protocol/composition.ts";
import type { LineageEntry } from "../../../operator/protocol/registry-view.ts";
import { addressOf } from "../../../operator/protocol/signature.ts";
import type { StepContext } from "../../../operator/protocol/step.ts";
import { domainSeparator, type VoucherDomain } from "../../../operator/protocol/voucher.ts";
import { type Dice, diceOf } from "./dice.ts";
import { MemoryRegistry, type WorldAction } from "./memory-registry.ts";

export interface WorldOptions {
  seed: number;
  chainId?: bigint;
  /** Address of PaymentChannels, when the world is mirrored on a chain. */
  verifyingContract?: Hex;
  /** Time of the first action, seconds since 1970. On a chain, it lies ahead. */
  start?: number;
  /** The treasury's share in ppm. */
  protocolShare?: number;
  /** Channels with operator 1. */
  channels?: number;
  voucherLife?: number;
  posting?: number;
}

/** An operator's surroundings: registries with honest and with hostile corners, and payers with their keys. */
export interface World {
  dice: Dice;
  domain: VoucherDomain;
  separator: Uint8Array;
  operator: number;
  windows: Windows;
  registry: MemoryRegistry;
  /** All that happened, in order, at times that rise by at least one second: replay it to mirror the world. */
  actions: WorldAction[];
  /** Channels of operator 1 with ample deposits, and the keys that sign for them. */
  channels: number[];
  keys: Map<number, Uint8Array>;
  /** A channel of operator 1 like the others, of which random jobs keep clear. */
  spareChannel: number;
  /** A channel of operator 1 that holds next to nothing, and one of operator 2. */
  poorChannel: number;
  foreignChannel: number;
  /** Agent versions that may be asked. The first uses every class to its bound. */
  agents: { agent: number; version: number }[];
  /** An agent version published after the registry time. */
  lateAgent: { agent: number; version: number };
  corners: Corners;
  /** A tool that the first agent does not use. */
  unusedTool: number;
  /** B, and the time at which batches are posted; whoever mirrors the world moves them on with the chain's clock. */
  registryTime: number;
  now: number;
}

/** Contributions of the first agent's first DataNet that must not earn, each for another reason. */
export interface Corners {
  /** Submitted, never accepted. */
  pending: number;
  /** In the pinned version, withdrawn longer ago than LAG. */
  withdrawnLongAgo: number;
  /** In the pinned version, withdrawn within LAG: this one still earns. */
  withdrawnLately: number;
  /** Accepted, but in a later version than the pinned one. */
  tooNew: number;
  /** Withdrawn before the pinned version. */
  tooOld: number;
  /** Accepted in a DataNet that no agent uses. */
  elsewhere: number;
}

const OPEN = 10n ** 18n;

/** Ids of what a world's agents are made of. */
interface Parts {
  dataNets: { id: number; version: number }[];
  adapters: number[];
  prompts: number[];
  tools: number[];
}

/** Builds a random world by the seed. */
export function createWorld(options: WorldOptions): World {
  const dice = diceOf(options.seed);
  const windows = { voucherLife: options.voucherLife ?? 3_600, posting: options.posting ?? 86_400, settling: 259_200 };
  const domain: VoucherDomain = {
    chainId: options.chainId ?? 31_337n,
    verifyingContract: options.verifyingContract ?? "0x00000000000000000000000000000000000c4a17",
  };
  const registry = new MemoryRegistry(options.protocolShare ?? 20_000);
  const actions: WorldAction[] = [];
  let time = options.start ?? 4_000_000_000;
  let lastId = 0;
  const newId = () => ++lastId;
  // Distributes over the union, so that each kind keeps its own fields.
  type Untimed<T> = T extends unknown ? Omit<T, "time"> : never;
  const act = (action: Untimed<WorldAction>) => {
    time += dice.between(2, 20);
    const timed = { ...action, time } as WorldAction;
    registry.perform(timed);
    actions.push(timed);
  };

  act({ kind: "registerOperator", operator: 1 });
  act({ kind: "registerOperator", operator: 2 });

  // DataNets: the first with every corner, the last used by nobody.
  const heads = new Map<number, number>();
  const publish = (dataNet: number) => {
    const version = (heads.get(dataNet) ?? 0) + 1;
    heads.set(dataNet, version);
    act({ kind: "publishDataNet", dataNet, version });
    return { id: dataNet, version };
  };
  const contribute = (dataNet: number, count: number): number[] => {
    const ids = Array.from({ length: count }, newId);
    for (const id of ids) act({ kind: "submit", id, dataNet });
    if (count > 0) act({ kind: "accept", dataNet, ids });
    return ids;
  };
  const createDataNet = (): number => {
    const id = newId();
    act({ kind: "createDataNet", id });
    return id;
  };
  const cornered = createDataNet();
  const [tooOld] = contribute(cornered, 1);
  act({ kind: "withdraw", id: tooOld });
  const [withdrawnLongAgo, withdrawnLately] = contribute(cornered, 16);
  const parts: Parts = { dataNets: [publish(cornered)], adapters: [], prompts: [], tools: [] };
  for (let i = 0; i < 7; i++) {
    const dataNet = createDataNet();
    contribute(dataNet, dice.between(3, 6));
    parts.dataNets.push(publish(dataNet));
  }
  const lonely = createDataNet();
  const [elsewhere] = contribute(lonely, 1);
  publish(lonely);
  act({ kind: "withdraw", id: withdrawnLongAgo });
  const [tooNew] = contribute(cornered, 1);
  publish(cornered);
  const pending = newId();
  act({ kind: "submit", id: pending, dataNet: cornered });

  for (let i = 0; i < 5; i++) {
    const id = newId();
    // The first adapter has as long a lineage as there may be.
    const lineage: LineageEntry[] = dice
      .some(parts.dataNets, i === 0 ? 8 : dice.between(1, 8))
      .map((dataNet) => ({ dataNet: dataNet.id, version: dataNet.version }));
    act({ kind: "registerAdapter", id, baseModel: dice.bytes(32), lineage });
    parts.adapters.push(id);
  }
  for (let i = 0; i < 2; i++) {
    parts.prompts.push(newId());
    act({ kind: "registerPrompt", id: lastId });
  }
  for (let i = 0; i < 5; i++) {
    parts.tools.push(newId());
    act({ kind: "registerTool", id: lastId });
  }

  const agents: World["agents"] = [];
  const compositions = [fullComposition(dice, parts)];
  for (let i = 0; i < 7; i++) compositions.push(randomComposition(dice, parts));
  const versions = new Map<number, number>();
  const publishAgent = (agent: number, composition: Composition) => {
    const version = (versions.get(agent) ?? 0) + 1;
    versions.set(agent, version);
    act({ kind: "publishAgent", agent, version, composition: encodeComposition(composition) });
    return { agent, version };
  };
  for (const composition of compositions) {
    const last = agents.at(-1)?.agent;
    const isNew = last === undefined || dice.chance(0.6);
    if (isNew) act({ kind: "createAgent", id: newId() });
    agents.push(publishAgent(isNew ? lastId : last, composition));
  }

  const keys = new Map<number, Uint8Array>();
  const openChannel = (operator: number, deposit: bigint): number => {
    const channel = keys.size + 1;
    keys.set(channel, dice.bytes(32));
    act({ kind: "openChannel", channel, operator, sessionKey: addressOf(keys.get(channel)!), deposit });
    return channel;
  };
  const poorChannel = openChannel(1, 1n);
  const foreignChannel = openChannel(2, 1_000n * OPEN);
  const spareChannel = openChannel(1, 1_000n * OPEN);
  const channels = Array.from({ length: options.channels ?? 6 }, () => openChannel(1, 1_000n * OPEN));

  // A withdrawal of long ago lies more than LAG before B; between B and now, things go on.
  time += registryLag(windows) + 1_000;
  act({ kind: "withdraw", id: withdrawnLately });
  time += Math.floor(windows.voucherLife / 2);
  const registryTime = time;
  const lateAgent = publishAgent(agents[0].agent, compositions[0]);
  return {
    dice,
    domain,
    separator: domainSeparator(domain),
    operator: 1,
    windows,
    registry,
    actions,
    channels,
    keys,
    spareChannel,
    poorChannel,
    foreignChannel,
    agents,
    lateAgent,
    unusedTool: parts.tools[4],
    corners: { pending, withdrawnLongAgo, withdrawnLately, tooNew, tooOld, elsewhere },
    registryTime,
    now: time + 60,
  };
}

/** The context in which the world's operator judges and is judged. */
export function contextOf(world: World, submittedAt = world.now): StepContext {
  return {
    operator: world.operator,
    registryTime: world.registryTime,
    submittedAt,
    windows: world.windows,
    separator: world.separator,
    registry: world.registry,
  };
}

/** Every class at its bound, and a price high enough that each of 34 earners gets something. */
function fullComposition(dice: Dice, parts: Parts): Composition {
  const shares = dice.partsOf(1_000_000, 4);
  return {
    baseModel: dice.bytes(32),
    pricePerJob: OPEN / 1_000n,
    pricePerPromptToken: 10n ** 12n,
    pricePerCompletionToken: 3n * 10n ** 12n,
    split: {
      operator: 300_000,
      publisher: 100_000,
      adapters: 150_000,
      prompt: 50_000,
      context: 200_000,
      training: 150_000,
      tool: 50_000,
    },
    emptyContext: 0,
    emptyTraining: 2,
    emptyTool: 1,
    contextMeasure: 0,
    trainingMeasure: 0,
    prompt: { id: parts.prompts[0], version: 1 },
    adapters: parts.adapters.slice(0, 4).map((id, i) => ({ id, version: 1, share: shares[i], scale: 1_000_000 })),
    dataNets: parts.dataNets,
    tools: parts.tools.slice(0, 4).map((id) => ({ id, version: 1 })),
  };
}

function randomComposition(dice: Dice, parts: Parts): Composition {
  const adapters = dice.some(parts.adapters, dice.below(5));
  const dataNets = dice.some(parts.dataNets, dice.below(5));
  const tools = dice.some(parts.tools, dice.below(5));
  const prompt = dice.chance(0.5) ? { id: dice.pick(parts.prompts), version: 1 } : null;
  const allowed: (keyof Split)[] = ["operator", "publisher"];
  if (adapters.length > 0) allowed.push("adapters", "training");
  if (prompt) allowed.push("prompt");
  if (dataNets.length > 0) allowed.push("context");
  if (tools.length > 0) allowed.push("tool");
  const chosen = dice.some(allowed, dice.between(1, allowed.length));
  const weights = dice.partsOf(1_000_000, chosen.length);
  const split: Split = { operator: 0, publisher: 0, adapters: 0, prompt: 0, context: 0, training: 0, tool: 0 };
  chosen.forEach((name, i) => {
    split[name] = weights[i];
  });
  const shares = adapters.length > 0 ? dice.partsOf(1_000_000, adapters.length) : [];
  // From prices of a few wei, where rounding shows, to everyday ones.
  const scale = dice.pick([0n, 1n, 10n, 10n ** 9n, 10n ** 12n]);
  const where = () => dice.below(4) as 0 | 1 | 2 | 3;
  return {
    baseModel: dice.bytes(32),
    pricePerJob: scale * BigInt(dice.below(1_000)),
    pricePerPromptToken: scale * BigInt(dice.below(3)),
    pricePerCompletionToken: scale * BigInt(dice.below(9)),
    split,
    emptyContext: where(),
    emptyTraining: where(),
    emptyTool: where(),
    contextMeasure: dice.below(2) as 0 | 1,
    trainingMeasure: dice.below(2) as 0 | 1,
    prompt,
    adapters: adapters.map((id, i) => ({ id, version: 1, share: shares[i], scale: dice.between(0, 2_000_000) })),
    dataNets: dice.shuffled(dataNets),
    tools: tools.map((id) => ({ id, version: 1 })),
  };
}
