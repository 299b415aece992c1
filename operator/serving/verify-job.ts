import { decodeTrace } from "../attribution/decode-trace.ts";
import { withoutJoiners } from "../attribution/plain-text.ts";
import type { Effect } from "../attribution/shares.ts";
import type { Trace } from "../attribution/trace.ts";
import { MalformedTrace } from "../attribution/trace.ts";
import { sourceTexts } from "../attribution/traced-prompt.ts";
import { verifyTrace } from "../attribution/verify-trace.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import type { Engine } from "../engine/engine.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import { decodeReceipt, type Receipt } from "../protocol/receipt.ts";
import { type Payout, splitPrice } from "../protocol/split.ts";
import { AgentShelf, type ReadyAgent } from "./agent-shelf.ts";
import { checkClientWords, checkExchange } from "./check-exchange.ts";
import { checkRegistered } from "./check-registered.ts";
import { wholePrompt } from "./compose-prompt.ts";
import { type OpenDataNet, standingContributions } from "./data-net-shelf.ts";
import type { JobServerOptions } from "./job-server.ts";
import { isSilence, type ModelText, readModelText } from "./model-text.ts";
import { ServingError } from "./served-job.ts";
import { TrainingInfluence } from "./training-influence.ts";

/** What an operator shows of a job. */
export interface JobEvidence {
  readonly trace: Uint8Array;
  /** Body of the receipt. */
  readonly receipt: Uint8Array;
  /** When it was completed, seconds since 1970. */
  readonly completedAt: number;
  /** With the salt: the request and the answer as they were hashed. Without it they are not compared. */
  readonly salt?: Uint8Array;
  readonly request?: Uint8Array;
  readonly response?: Uint8Array;
}

export interface VerifyJobOptions extends Pick<JobServerOptions, "mirror" | "fetcher" | "directory"> {
  /** Folder of the base model, and an engine that runs it in exact mode. Without them scores are taken as they are. */
  readonly model?: string;
  readonly engine?: Engine;
  readonly tolerance?: number;
  readonly signal?: AbortSignal;
}

export interface JobReport {
  readonly ok: boolean;
  /** What is wrong, in words. */
  readonly problems: readonly string[];
  /** What was done again; the rest is only known to be consistent. */
  readonly checked: readonly string[];
  /** What could not be checked, and why. */
  readonly unchecked: readonly string[];
  /** Largest difference of a score, in millionths of a nat. */
  readonly largestDifference: number | undefined;
  /** What the model's tokens attended to, where that was not all before them as the registered model does. */
  readonly sparse: Trace["inputs"]["model"]["sparse"];
  /** Who is paid what by this receipt, where it could be read. */
  readonly payout: Payout | undefined;
}

/**
 * Does a job's attribution again and holds it against the registries: whether the trace is the receipt's, says what is
 * registered, and measures what it says.
 *
 * @throws Whatever the engine throws, and faults of this machine.
 */
export async function verifyJob(evidence: JobEvidence, options: VerifyJobOptions): Promise<JobReport> {
  const { mirror } = options;
  let receipt: Receipt;
  let trace: Trace;
  try {
    receipt = decodeReceipt(evidence.receipt);
    trace = decodeTrace(evidence.trace);
  } catch (error) {
    if (!(error instanceof MalformedBytes || error instanceof MalformedTrace)) throw error;
    return {
      ok: false,
      problems: [error.message],
      checked: [],
      unchecked: [],
      largestDifference: undefined,
      sparse: undefined,
      payout: undefined,
    };
  }
  const model = options.model === undefined ? undefined : readModelText(options.model);
  const problems = [
    ...checkRegistered(trace, receipt, mirror, evidence.completedAt),
    ...checkTokens(trace, receipt, model),
    ...checkExchange(evidence, receipt, trace),
  ];
  const { salt, request, response } = evidence;
  const isWhole = salt && request && response;
  const checked = ["registry", ...(isWhole ? ["request and answer"] : []), ...(model ? ["tokens"] : [])];
  const unchecked: string[] = [];
  if (salt && !request) unchecked.push("request: it is not shown");
  if (salt && !response) unchecked.push("answer: it is not shown");
  const held = await open(trace, evidence.completedAt, options, unchecked);
  try {
    if (held.template !== undefined) {
      checked.push("prompt");
      problems.push(...checkTemplate(trace, held.template));
    }
    // Without the prompt's content nobody knows where it repeats the question.
    if (held.whole) problems.push(...checkClientWords(evidence, trace, held.template));
    const { context, training, tool } = receipt;
    const report = await verifyTrace(evidence.trace, {
      hash: receipt.traceHash,
      pools: { context, training, tool },
      ...(held.engine && { engine: held.engine }),
      ...(held.nets && {
        indexes: held.nets.map(({ index }) => index),
        corpora: held.nets.map(({ corpus }) => corpus),
      }),
      ...(model?.textOf && { textOf: model.textOf }),
      ...(options.tolerance !== undefined && { tolerance: options.tolerance }),
      ...(options.signal && { signal: options.signal }),
    });
    problems.push(...report.problems);
    checked.push(...report.remeasured);
    if (report.ok && trace.influence.length > 0) {
      const again = model?.encode && (await influenceAgain(trace, model.encode(wholePrompt(trace.inputs)), options));
      if (again) checked.push("influence");
      else unchecked.push("influence: it is measured again by whoever holds the adapters' sketches");
      if (again === "other") problems.push("The influence of training data is not what measuring it again gives.");
    }
    const composition = mirror.composition(receipt.voucher.agent, receipt.voucher.version);
    const share = mirror.protocolShareAt(evidence.completedAt);
    const payout =
      composition && splitPrice(receipt.price, share, receipt.voucher.agent, composition, { context, training, tool });
    const { largestDifference } = report;
    const { sparse } = trace.inputs.model;
    return { ok: problems.length === 0, problems, checked, unchecked, largestDifference, sparse, payout };
  } finally {
    held.release();
  }
}

interface Held {
  readonly engine?: Engine;
  /** In the order of the trace's corpora. */
  readonly nets?: readonly OpenDataNet[];
  readonly template?: ReadyAgent["template"];
  /** Whether the registered prompt is known, or there is none. */
  readonly whole?: boolean;
  release(): void;
}

/** Gets what is needed to measure again. What cannot be had is named, and the rest is checked without it. */
async function open(trace: Trace, at: number, options: VerifyJobOptions, unchecked: string[]): Promise<Held> {
  const { engine, mirror } = options;
  const shelf = new AgentShelf(options);
  const nets: OpenDataNet[] = [];
  const release = () => {
    for (const net of nets) net.release();
    shelf.close();
  };
  const { agent, version } = trace.inputs;
  const tell = (what: string) => (error: unknown) => {
    if (!(error instanceof ServingError)) throw error;
    unchecked.push(`${what}: ${error.message}`);
    return undefined;
  };
  const composition = mirror.composition(agent, version);
  if (!composition) return { release };
  try {
    const adapters = engine && (await shelf.adapters(composition).catch(tell("scores")));
    const { prompt } = composition;
    const pieces = prompt ? await shelf.template(prompt).catch(tell("prompt")) : undefined;
    for (const corpus of trace.inputs.corpora) {
      const net = await sameNet(shelf, corpus, mirror, at).catch(tell("passages and verbatim text"));
      if (net) nets.push(net);
    }
    return {
      release,
      ...(engine && adapters && { engine }),
      ...(nets.length === trace.inputs.corpora.length && { nets }),
      ...(prompt && pieces && { template: { id: prompt.id, pieces } }),
      whole: prompt === null || pieces !== undefined,
    };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * The DataNet version with the contributions that it was searched with: those standing when the job was done, as far as
 * the operator had read the chain by then.
 */
async function sameNet(
  shelf: AgentShelf,
  { dataNet, version, corpusHash }: Trace["inputs"]["corpora"][number],
  mirror: RegistryMirror,
  at: number,
): Promise<OpenDataNet | undefined> {
  const pin = { id: dataNet, version };
  const withdrawals = mirror
    .contributionsOf(dataNet, version)
    .map((id) => mirror.contribution(id)!.withdrawnAt)
    .filter((time) => time > 0 && time <= at)
    .sort((a, b) => b - a);
  let other: OpenDataNet | undefined;
  // Just before each withdrawal the set was another one; the newest four are looked at.
  for (const moment of [at, ...withdrawals.map((time) => time - 1)].slice(0, 5)) {
    other?.release();
    other = await shelf.dataNets.take(pin, standingContributions(mirror, pin, moment));
    if (other?.index.corpusHash === corpusHash) break;
  }
  // Where none is the same, the comparison will say so.
  return other;
}

/** Sums of many rounded products: other processors end up elsewhere, by less than this of the largest effect. */
const INFLUENCE_TOLERANCE = 10_000;

/** Measures influence where the sketches are here as well. */
async function influenceAgain(
  { inputs, influence }: Trace,
  prompt: readonly number[],
  { mirror, model, directory }: VerifyJobOptions,
): Promise<"same" | "other" | undefined> {
  const composition = mirror.composition(inputs.agent, inputs.version);
  if (!composition || model === undefined) return undefined;
  const meter = new TrainingInfluence({ mirror, model, directory, threads: 1 });
  try {
    const again = await meter.measure(composition, { prompt, answer: inputs.answer.tokens });
    if (again.length === 0) return undefined;
    const near = ({ id, via, effect }: Effect) =>
      again.some((one) => one.id === id && one.via === via && Math.abs(one.effect - effect) <= INFLUENCE_TOLERANCE);
    return influence.every(near) ? "same" : "other";
  } finally {
    await meter.close();
  }
}

/** Tokens that are charged are those of the prompt and of the answer, and nobody's text plays a role of its own. */
function checkTokens({ inputs }: Trace, { promptTokens, completionTokens }: Receipt, model?: ModelText): string[] {
  const problems: string[] = [];
  const { tokens } = inputs.answer;
  const silent = model && isSilence(tokens, model);
  if (completionTokens !== (silent || (!model && completionTokens === 0) ? 0 : tokens.length)) {
    problems.push(`${completionTokens} tokens of answer are charged, the trace has ${tokens.length}.`);
  }
  if (!model) return problems;
  try {
    const counted = model.count(wholePrompt(inputs));
    if (counted !== promptTokens) {
      problems.push(`${promptTokens} tokens of prompt are charged, the trace's prompt has ${counted}.`);
    }
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    problems.push(`The prompt is none that the model takes: ${error.message}`);
  }
  for (const [i, text] of sourceTexts(inputs.prompt, inputs.sources).entries()) {
    if (text !== model.plain(withoutJoiners(text))) {
      const { kind, id } = inputs.sources[i];
      problems.push(
        `The text of ${kind} ${id} is not written as it should be: control tokens, or joiners without need.`,
      );
    }
  }
  return problems;
}

function checkTemplate({ inputs }: Trace, template: NonNullable<ReadyAgent["template"]>): string[] {
  const at = inputs.sources.findIndex(({ kind }) => kind === "prompt");
  const parts = "parts" in inputs.prompt ? inputs.prompt.parts : inputs.prompt.messages.flatMap(({ parts }) => parts);
  const words = (text: string) => withoutJoiners(text).replace(/\s+/g, " ").trim();
  const used = words(parts.flatMap(({ text, source }) => (source === at ? [text] : [])).join(" "));
  const registered = words(template.pieces.flatMap((piece) => ("text" in piece ? [piece.text] : [])).join(" "));
  return used === registered ? [] : ["The prompt's text is not the registered one."];
}
