import { z } from "zod";
import type { Hex } from "../protocol/bytes.ts";
import { canonicalJson, type Json } from "../protocol/canonical-json.ts";

const hex = z.string().regex(/^0x([0-9a-fA-F]{2})*$/) as unknown as z.ZodType<Hex>;
const json = z.unknown() as z.ZodType<Json | undefined>;

const shown = z.object({
  state: z.string(),
  reason: z.string().optional(),
  receipt: z.object({ body: hex, completed: z.int().min(0), batch: z.int().min(0), index: z.int().min(0) }).optional(),
  request: json.optional(),
  answer: json.optional(),
  trace: json.optional(),
});

/** What an operator says of a job, and shows of it to whoever has the salt (`GET /v1/jobs/:id`). */
export type ShownJob = z.output<typeof shown>;

export interface AskedJobOptions {
  salt?: Hex;
  /** How the operator is asked. Default: the system's `fetch`. */
  send?: (url: string, init: { headers: Record<string, string>; signal: AbortSignal }) => Promise<Response>;
  signal?: AbortSignal;
}

/**
 * Asks an operator for a job.
 *
 * @param operatorUrl With or without `/v1`.
 * @throws Error that says what the operator answered, or that it did not.
 */
export async function readShownJob(operatorUrl: string, jobId: Hex, options: AskedJobOptions = {}): Promise<ShownJob> {
  const { salt, send = fetch, signal } = options;
  const base = operatorUrl.replace(/\/(v1\/?)?$/, "");
  const late = AbortSignal.timeout(30_000);
  let response: Response;
  let body: unknown;
  try {
    response = await send(`${base}/v1/jobs/${jobId}`, {
      headers: salt === undefined ? {} : { "x-openledger-salt": salt },
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    body = await response.json().catch(() => undefined);
  } catch (cause) {
    throw new Error(`Nobody answers at ${base}.`, { cause });
  }
  const said = (body as { error?: { message?: unknown } } | undefined)?.error?.message;
  if (!response.ok) throw new Error(typeof said === "string" ? said : `${base} answered with ${response.status}.`);
  const job = shown.safeParse(body);
  if (!job.success) throw new Error(`${base} answers with what is no job.`);
  return job.data;
}

/** Hashed bytes are canonical JSON, so that what was parsed on the way gives the same again. */
export function hashedBytes(value: Json): Uint8Array {
  return new TextEncoder().encode(canonicalJson(value));
}
