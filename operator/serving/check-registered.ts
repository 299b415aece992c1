import type { Trace } from "../attribution/trace.ts";
import type { Source } from "../attribution/traced-prompt.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import { isPartOf, judgeAttribution } from "../protocol/attribution-rules.ts";
import { toHex } from "../protocol/bytes.ts";
import { CONTEXT_MEASURE, type Composition, TRAINING_MEASURE } from "../protocol/composition.ts";
import { priceOf } from "../protocol/price.ts";
import type { Receipt } from "../protocol/receipt.ts";
import { VERDICT, verdictName } from "../protocol/verdict.ts";
import { adapterName, searchedNets } from "./agent-shelf.ts";
import { standingContributions } from "./data-net-shelf.ts";

/**
 * Whether a trace and its receipt say what is registered: agent version, model, adapters, who owns what is credited, and
 * what the terms ask. What the numbers of the trace say is {@link verifyTrace}'s to check.
 *
 * Owners are compared with those of now: who looks after a transfer sees a difference that was none.
 *
 * @param at When the job was completed, seconds since 1970: what was withdrawn later was good then.
 * @returns What is wrong, in words.
 */
export function checkRegistered(trace: Trace, receipt: Receipt, mirror: RegistryMirror, at: number): string[] {
  const { inputs } = trace;
  const { agent, version } = receipt.voucher;
  if (inputs.agent !== agent || inputs.version !== version) {
    return [`The trace is of agent ${inputs.agent}@${inputs.version}, the receipt of ${agent}@${version}.`];
  }
  const composition = mirror.composition(agent, version);
  if (!composition) return [`Agent ${agent} has no version ${version}.`];
  const problems = [
    ...checkModel(trace, composition, mirror),
    ...checkCorpora(trace, composition, mirror, at),
    ...inputs.sources.flatMap((source) => checkSource(source, composition, mirror, at)),
  ];
  if (inputs.sources.some(({ kind }) => kind === "prompt") !== (composition.prompt !== null)) {
    problems.push("The registered prompt and the prompt in the trace are not both there.");
  }
  const price = priceOf(composition, receipt, receipt.voucher.maxPrice);
  if (receipt.price !== price) problems.push(`The price is ${receipt.price} wei, the terms make it ${price}.`);
  // Withdrawals are judged by the time of the job, source by source.
  const registryTime = mirror.head()?.time ?? 0;
  const verdict = judgeAttribution(receipt, composition, { registry: mirror, registryTime, lag: registryTime });
  if (verdict !== VERDICT.valid) problems.push(`The receipt's shares break a rule: ${verdictName(verdict)}.`);
  for (const { id } of [...receipt.context, ...receipt.training]) {
    if (isWithdrawn(mirror, id, at)) problems.push(`Contribution ${id} earns, and had been withdrawn.`);
  }
  return problems;
}

function isWithdrawn(mirror: RegistryMirror, id: number, at: number): boolean {
  const { withdrawnAt = 0 } = mirror.contribution(id) ?? {};
  return withdrawnAt !== 0 && withdrawnAt <= at;
}

function checkModel({ inputs }: Trace, composition: Composition, mirror: RegistryMirror): string[] {
  const problems: string[] = [];
  const { hash } = inputs.model;
  if (hash === undefined) problems.push("The trace does not say which base model answered.");
  else if (`0x${hash}` !== toHex(composition.baseModel)) {
    problems.push(`The answer is by the base model 0x${hash}, the agent's is ${toHex(composition.baseModel)}.`);
  }
  const wanted = composition.adapters.map((adapter) => ({
    ...{ id: adapter.id, version: adapter.version, name: adapterName(adapter), weight: adapter.scale / 1e6 },
    hash: mirror.adapterVersion(adapter.id, adapter.version)?.weightsHash.slice(2).toLowerCase(),
  }));
  const used = inputs.adapters.map(({ id, version, name, weight, hash }) => ({ id, version, name, weight, hash }));
  if (JSON.stringify(wanted) !== JSON.stringify(used)) {
    problems.push("The adapters that answered are not those of the agent version.");
  }
  const context = composition.contextMeasure === CONTEXT_MEASURE.verbatim ? "verbatim" : "leave-one-out";
  const training = composition.trainingMeasure === TRAINING_MEASURE.verbatim ? "verbatim" : "influence";
  if (inputs.measures.context !== context || inputs.measures.training !== training) {
    problems.push("The pools are fed by other measures than the agent version names.");
  }
  return problems;
}

function checkCorpora({ inputs }: Trace, composition: Composition, mirror: RegistryMirror, at: number): string[] {
  const byContext = composition.contextMeasure === CONTEXT_MEASURE.verbatim;
  const known = searchedNets(composition, mirror);
  const problems = known.flatMap(({ net }) => {
    const times = inputs.corpora.filter(({ dataNet }) => dataNet === net.id).length;
    if (times === 1 || (times === 0 && standingContributions(mirror, net, at).length === 0)) return [];
    return [`DataNet ${net.id} was searched ${times} times for words of the answer, not once.`];
  });
  const foreign = inputs.corpora.flatMap(({ dataNet, version, context, training }) => {
    const wanted = known.find(({ net }) => net.id === dataNet && net.version === version);
    if (!wanted) return [`DataNet ${dataNet}@${version} was searched, and is not the agent's.`];
    const right = context === (byContext ? wanted.pinned : undefined) && training === wanted.training;
    return right ? [] : [`DataNet ${dataNet}@${version} feeds other pools than it may.`];
  });
  return [...problems, ...foreign];
}

function checkSource(source: Source, composition: Composition, mirror: RegistryMirror, at: number): string[] {
  const { kind, id, via } = source;
  if (kind === "prompt") return id === composition.prompt?.id && via === 0 ? [] : [`${id} is not the agent's prompt.`];
  if (kind === "tool") return composition.tools.at(via)?.id === id ? [] : [`${id} is not the agent's tool ${via}.`];
  const net = composition.dataNets.at(via);
  const contribution = mirror.contribution(id);
  if (!net || !contribution || !isPartOf(contribution, { dataNet: net.id, version: net.version })) {
    return [`Contribution ${id} is not in the agent's DataNet ${via}.`];
  }
  const problems: string[] = [];
  if (contribution.acceptedAt === 0) problems.push(`Contribution ${id} was never accepted.`);
  if (isWithdrawn(mirror, id, at)) problems.push(`Contribution ${id} was used, and had been withdrawn.`);
  const owner = mirror.contentOf(id)?.owner.toLowerCase();
  if (source.owner !== owner) problems.push(`Contribution ${id} belongs to ${owner}, the trace says ${source.owner}.`);
  if (source.passages?.some(({ dataNet, version }) => dataNet !== net.id || version !== net.version)) {
    problems.push(`Contribution ${id} has passages of another DataNet version.`);
  }
  return problems;
}
