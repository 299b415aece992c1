import type { Composition } from "../protocol/composition.ts";
import { type AttributionEntry, decodeReceipt, type Receipt } from "../protocol/receipt.ts";
import type { RegistryView } from "../protocol/registry-view.ts";
import { splitPrice } from "../protocol/split.ts";
import type { ReceiptRecord } from "../settlement/sequencer.ts";

/** What naming those who earned asks of the registries. */
export interface AttributionRegistry extends Pick<RegistryView, "agentVersion" | "lineage" | "protocolShareAt"> {
  contentOf(id: number): { readonly name: string } | undefined;
}

/** Somebody's part of a price. */
export interface Credited {
  id: number;
  /** As registered, where there is one. */
  name?: string;
  /** Wei of OPEN, decimal. */
  amount: string;
}

/** A measured part: `ppm` of its pool, and the DataNet, or the adapter and its DataNet, that lets it earn. */
export interface CreditedEntry extends Credited {
  ppm: number;
  via: number;
  data_net?: number;
  adapter?: number;
}

/** Where the price of an answer went. All amounts sum to the price. */
export interface Attribution {
  job_id: string;
  agent: { id: number; version: number; name?: string };
  /** Wei of OPEN, decimal, as all amounts. */
  price: string;
  prompt_tokens: number;
  completion_tokens: number;
  treasury: string;
  operator: string;
  publisher: Credited | null;
  adapters: (Credited & { share_ppm: number })[];
  prompt: Credited | null;
  context: CreditedEntry[];
  training: CreditedEntry[];
  tools: CreditedEntry[];
  receipt: { position: number; batch: number; index: number; channel: number; charged: string };
}

/**
 * Says where the price of a completed job went, part by part.
 *
 * @param registryTime B of the receipt's batch, seconds since 1970: the treasury's share is that of then.
 * @returns Undefined while the registries do not show the agent's version.
 */
export function attributionOf(
  record: ReceiptRecord,
  registry: AttributionRegistry,
  registryTime: number,
): Attribution | undefined {
  const receipt = decodeReceipt(record.body);
  const { agent, version, channel } = receipt.voucher;
  const composition = registry.agentVersion(agent, version)?.composition;
  if (!composition) return undefined;
  const named = <T extends { id: number }>(what: T): T & { name?: string } => {
    const name = registry.contentOf(what.id)?.name;
    return name === undefined ? what : { ...what, name };
  };
  const parts = partsOf(receipt, composition, registry.protocolShareAt(registryTime));
  const credited = (id: number, amount: bigint): Credited => named({ id, amount: String(amount) });
  const entries = (pool: readonly AttributionEntry[], amounts: readonly bigint[], place: (via: number) => object) =>
    pool.map(({ id, ppm, via }, i) => ({ ...credited(id, amounts[i]), ppm, via, ...place(via) }));
  const { adapters, prompt, dataNets } = composition;
  return {
    job_id: record.jobId,
    agent: named({ id: agent, version }),
    price: String(receipt.price),
    prompt_tokens: receipt.promptTokens,
    completion_tokens: receipt.completionTokens,
    treasury: String(parts.treasury),
    operator: String(parts.operator),
    publisher: credited(agent, parts.publisher),
    adapters: adapters.map(({ id, share }, i) => ({ ...credited(id, parts.adapters[i]), share_ppm: share })),
    prompt: prompt && credited(prompt.id, parts.prompt),
    context: entries(receipt.context, parts.context, (via) => ({ data_net: dataNets[via].id })),
    training: entries(receipt.training, parts.training, (via) => {
      const { id, version } = adapters[Math.floor(via / 8)];
      return { adapter: id, data_net: registry.lineage(id, version, via % 8)?.dataNet };
    }),
    tools: entries(receipt.tool, parts.tools, () => ({})),
    receipt: {
      position: record.position,
      batch: record.batch,
      index: record.index,
      channel,
      charged: String(record.charged),
    },
  };
}

/**
 * The split by part instead of by id: one id may earn in several classes. The protocol's own function does it, with
 * every part under a number of its own.
 */
function partsOf(receipt: Receipt, composition: Composition, protocolShare: number) {
  let last = 0;
  const apart = <T extends { id: number }>(members: readonly T[]): T[] =>
    members.map((member) => ({ ...member, id: ++last }));
  const [publisher] = apart([{ id: 0 }]);
  const adapters = apart(composition.adapters);
  const [prompt] = apart(composition.prompt ? [composition.prompt] : []);
  const [context, training, tool] = [apart(receipt.context), apart(receipt.training), apart(receipt.tool)];
  const terms = { ...composition, adapters, prompt: prompt ?? null };
  const payout = splitPrice(receipt.price, protocolShare, publisher.id, terms, { context, training, tool });
  const amounts = new Map(payout.credits.map(({ id, amount }) => [id, amount]));
  const amountOf = ({ id }: { id: number }) => amounts.get(id) ?? 0n;
  return {
    treasury: payout.treasury,
    operator: payout.operator,
    publisher: amountOf(publisher),
    adapters: adapters.map(amountOf),
    prompt: prompt ? amountOf(prompt) : 0n,
    context: context.map(amountOf),
    training: training.map(amountOf),
    tools: tool.map(amountOf),
  };
}
