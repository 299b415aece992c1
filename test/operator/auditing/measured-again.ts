import { attribute } from "../../../operator/attribution/attribute.ts";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import type { TraceInputs } from "../../../operator/attribution/trace.ts";
import type { Engine } from "../../../operator/engine/engine.ts";
import type { JobServer } from "../../../operator/serving/job-server.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";

/** The answer with what measuring other inputs gives: receipt and trace agree to the last bit. */
export async function measuredAgain(
  honest: ServedAnswer,
  server: JobServer,
  engine: Engine,
  change: (inputs: TraceInputs) => TraceInputs,
): Promise<ServedAnswer> {
  const { inputs } = decodeTrace(honest.trace);
  const ready = await server.shelf.take(inputs.agent, inputs.version);
  try {
    const corpora = ready.nets.map(({ corpus }) => corpus);
    const { bytes, hash, trace } = await attribute({ engine, inputs: change(inputs), corpora });
    const { context, training, tool } = trace.pools;
    const pools = { context: [...context], training: [...training], tools: [...tool] };
    return { ...honest, ...pools, trace: bytes, traceHash: `0x${Buffer.from(hash).toString("hex")}` };
  } finally {
    ready.release();
  }
}

/** The names of the first two sources exchanged. */
export function exchangeSources(inputs: TraceInputs): TraceInputs {
  const [one, other, ...rest] = inputs.sources;
  const sources = [{ ...one, passages: other.passages }, { ...other, passages: one.passages }, ...rest];
  if (!("messages" in inputs.prompt)) throw new Error("The prompt has no messages.");
  const messages = inputs.prompt.messages.map((message) => ({
    ...message,
    parts: message.parts.map((part) =>
      part.source === 0 || part.source === 1 ? { ...part, source: 1 - part.source } : part,
    ),
  }));
  return { ...inputs, sources, prompt: { messages } };
}
