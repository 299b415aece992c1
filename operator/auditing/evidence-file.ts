import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { fromHex, type Hex, sameBytes, toHex } from "../protocol/bytes.ts";
import type { Json } from "../protocol/canonical-json.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import { decodeHeader, encodeHeader } from "../protocol/header.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import { domainSeparator, type VoucherDomain } from "../protocol/voucher.ts";
import type { Examination, ExaminedJob } from "./examine-job.ts";
import { hashedBytes } from "./shown-job.ts";

const hex = z.string().regex(/^0x([0-9a-fA-F]{2})*$/, "must be 0x and bytes in hex") as unknown as z.ZodType<Hex>;
const hash = z.string().regex(/^0x[0-9a-fA-F]{64}$/, "must be 0x and 64 digits") as unknown as z.ZodType<Hex>;
const json = z.unknown() as z.ZodType<Json | undefined>;

const schema = z.strictObject({
  format: z.literal("openledger-job-evidence-1"),
  /** Of PaymentChannels, which the voucher is for. */
  chain: z.int().min(1),
  contract: z.string().regex(/^0x[0-9a-fA-F]{40}$/) as unknown as z.ZodType<Hex>,
  operator: z.int().min(1),
  job: hash,
  receipt: hex,
  /** When it was completed by the operator's word, seconds since 1970: nothing commits to it. */
  completed: z.int().min(0),
  salt: hash,
  request: json.optional(),
  answer: json.optional(),
  trace: json,
  /** Where the receipt stands: 237 bytes of header, the leaf's state root, siblings up to the receipts root. */
  inclusion: z.strictObject({
    header: hex,
    index: z.int().min(0),
    state_root: hash,
    siblings: z.array(hash).max(14),
  }),
  /** What was found, when (seconds since 1970), for people: whoever reads the file finds it anew. */
  found: z.strictObject({ at: z.int().min(0), problems: z.array(z.string()) }),
});

/** A job that was found wrong, with where its receipt stands. */
export interface WrongJob extends ExaminedJob {
  place: Extract<ExaminedJob["place"], { header: unknown }>;
  salt: Uint8Array;
}

/**
 * Writes down all that somebody else needs to find the same: `openledger verify job --evidence FILE`. It holds question
 * and answer in the clear.
 *
 * @param at Seconds since 1970.
 * @returns The file's path.
 */
export function writeEvidence(
  folder: string,
  job: WrongJob,
  { domain, found, at }: { domain: VoucherDomain; found: Examination; at: number },
): string {
  const { header, index, stateRoot, siblings } = job.place;
  const evidence: z.input<typeof schema> = {
    format: "openledger-job-evidence-1",
    chain: Number(domain.chainId),
    contract: domain.verifyingContract,
    operator: header.operator,
    job: job.jobId,
    receipt: toHex(job.receipt),
    completed: job.completedAt,
    salt: toHex(job.salt),
    ...(job.request && { request: jsonOf(job.request) }),
    ...(job.response && { answer: jsonOf(job.response) }),
    trace: jsonOf(job.trace),
    inclusion: {
      header: toHex(encodeHeader(header)),
      index,
      state_root: toHex(stateRoot),
      siblings: siblings.map(toHex),
    },
    found: { at, problems: [...found.problems] },
  };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `operator-${header.operator}-${job.jobId.slice(2, 18)}.json`);
  writeFileSync(`${path}.part`, `${JSON.stringify(evidence, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.part`, path);
  return path;
}

/**
 * Reads such a file. What it says is for the chain, the registries and the model to confirm.
 *
 * @throws Error that says what is wrong with the file, or of which chain it is.
 */
export function readEvidence(path: string, domain: VoucherDomain): WrongJob {
  const refuse = (why: string, cause?: unknown) => new Error(`${path} is no evidence of a job: ${why}.`, { cause });
  let given: unknown;
  try {
    given = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw refuse((error as Error).message, error);
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const [{ path: at, message }] = parsed.error.issues;
    throw refuse(`${at.join(".") || "the file"}: ${message}`);
  }
  const { chain, contract, job, receipt, completed, salt, request, answer, trace, inclusion } = parsed.data;
  const its = domainSeparator({ chainId: BigInt(chain), verifyingContract: contract });
  if (!sameBytes(its, domainSeparator(domain))) throw new Error(`${path} is of chain ${chain}, contract ${contract}.`);
  try {
    decodeReceipt(fromHex(receipt));
    return {
      jobId: job,
      receipt: fromHex(receipt),
      completedAt: completed,
      salt: fromHex(salt),
      trace: hashedBytes(trace ?? null),
      ...(request !== undefined && { request: hashedBytes(request) }),
      ...(answer !== undefined && { response: hashedBytes(answer) }),
      place: {
        header: decodeHeader(fromHex(inclusion.header)),
        index: inclusion.index,
        stateRoot: fromHex(inclusion.state_root),
        siblings: inclusion.siblings.map(fromHex),
      },
    };
  } catch (error) {
    if (error instanceof MalformedBytes) throw refuse(error.message, error);
    throw error;
  }
}

const jsonOf = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as Json;
