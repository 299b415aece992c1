import { setTimeout as sleep } from "node:timers/promises";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import type { Codec } from "../../../operator/queue/attempt.ts";
import { type AskedJob, type ServedAnswer, type ServeJob, ServingError } from "../../../operator/serving/served-job.ts";

/** A request that says how it wants to be served. */
export interface Dictation {
  /** Pieces of the answer, and milliseconds before each. */
  pieces: number;
  pause?: number;
  /** Told before the first piece: `refused` cannot be answered by anybody, `broken` may go better another time. */
  trouble?: "refused" | "broken";
  /** So that no two requests are the same. */
  salt?: number;
}

export const codec: Codec = {
  decode: ({ jobId, request, voucher: { agent, version, channel, maxPrice } }) => {
    const prompt = { text: new TextDecoder().decode(request) };
    return { jobId, agent, version, payer: String(channel), maxPrice, prompt, sampling: {} };
  },
  encode: (_, answer) => new TextEncoder().encode(answer.text),
};

const pieceOf = (asked: Pick<AskedJob, "jobId">, at: number) => `${asked.jobId.slice(2, 6)}-${at} `;

export const piecesOf = (jobId: Hex, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({
    type: "piece" as const,
    at: from + i,
    text: pieceOf({ jobId }, from + i),
  }));

/** Serves what was dictated, the same each time. A client that leaves gets what there is by then. */
export const serveDictation: ServeJob = async (asked, onPiece, signal): Promise<ServedAnswer> => {
  const wanted: Dictation = JSON.parse((asked.prompt as { text: string }).text);
  if (wanted.trouble === "refused") throw new ServingError("promptTooLong", "The prompt is too long.");
  if (wanted.trouble === "broken") throw new Error("a disk on fire");
  let text = "";
  let at = 0;
  for (; at < wanted.pieces && !signal.aborted; at++) {
    if (wanted.pause) await sleep(wanted.pause, undefined, { signal }).catch(() => {});
    if (signal.aborted) break;
    const piece = pieceOf(asked, at);
    onPiece({ at, text: piece });
    text += piece;
  }
  if (signal.aborted && at === 0) throw new ServingError("cancelled", "The client has left.");
  const trace = new TextEncoder().encode(`trace of ${asked.jobId}`);
  const traceHash = toHex(keccak(trace));
  const pools = { context: [], training: [], tools: [] };
  const end = signal.aborted ? "cancelled" : "stop";
  return { text, end, promptTokens: 10, completionTokens: at, ...pools, trace, traceHash };
};
