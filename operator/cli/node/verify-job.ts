import { join } from "node:path";
import { decodeTrace } from "../../attribution/decode-trace.ts";
import { MalformedTrace } from "../../attribution/trace.ts";
import { startEmbeddedEngine } from "../../engine/worker/embedded-engine.ts";
import type { EngineSettings } from "../../engine/worker/settings.ts";
import { modelFolder } from "../../hub/locate.ts";
import { readPublished } from "../../node/watching.ts";
import { fromHex, type Hex, sameBytes } from "../../protocol/bytes.ts";
import { canonicalJson, type Json } from "../../protocol/canonical-json.ts";
import { decodeReceipt } from "../../protocol/receipt.ts";
import { openData } from "../../protocol/replay.ts";
import { voucherDigest } from "../../protocol/voucher.ts";
import { verifyJob } from "../../serving/verify-job.ts";
import { inOpen, note, openChain, printResult } from "../chain/chain-session.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import { progressLine } from "../progress-line.ts";
import type { VerifyJobCommandOptions } from "../verify.ts";
import { type ChainArchive, openArchive } from "./chain-archive.ts";

/** What this command reads of `/v1/jobs/:id`. */
interface JobOnWire {
  state: string;
  reason?: string;
  receipt?: { body: Hex; completed: number; batch: number; index: number };
  request?: Json;
  answer?: Json;
  trace?: Json;
}

/** `openledger verify job` */
export async function verifyJobOf(jobId: string, options: VerifyJobCommandOptions): Promise<void> {
  if (!/^0x[0-9a-fA-F]{64}$/.test(jobId)) throw new Error("A job's id is 0x and 64 digits.");
  const job = await readJob(jobId, options);
  if (!job.receipt)
    throw new Error(`Job ${jobId} has no receipt: it is ${job.state}${job.reason ? `, ${job.reason}` : ""}.`);
  const { receipt } = job;
  if (job.trace === undefined) {
    throw new Error("The trace is shown to whoever has the request's salt (--salt), until the operator empties it.");
  }
  const view = await openChain(options);
  await interruptible(async (signal) => {
    const fetching = { say: progressLine(), signal };
    const model = options.model === undefined ? undefined : await modelFolder(options.model, fetching);
    const archive = await openArchive(view, options, signal);
    const cache = join(openLedgerHome(), "graphs");
    if (model) note(`Starting the engine with ${model} ...`);
    const sparse = sparseOf(job.trace!);
    const engine = model ? await startEmbeddedEngine({ model, exact: true, cache, ...sparse }) : undefined;
    try {
      const body = fromHex(receipt.body);
      const { voucher } = decodeReceipt(body);
      // Of another job, everything may be right and nothing of it is this one's.
      const isOfJob = sameBytes(voucherDigest(archive.separator, voucher), fromHex(jobId as Hex));
      const evidence = {
        trace: bytesOf(job.trace!),
        receipt: body,
        completedAt: receipt.completed,
        ...(options.salt !== undefined && { salt: fromHex(options.salt as Hex) }),
        ...(job.request !== undefined && { request: bytesOf(job.request) }),
        ...(job.answer !== undefined && { response: bytesOf(job.answer) }),
      };
      const report = await verifyJob(evidence, {
        ...{ mirror: archive.mirror, fetcher: archive.content, signal },
        directory: join(openLedgerHome(), "serving"),
        ...(model && { model }),
        ...(engine && { engine }),
      });
      let missing = "it is not on the chain yet";
      const posted = await inBatch(archive, voucher.channel, receipt).catch((error: Error) => {
        missing = `its data cannot be had: ${error.message}`;
        return undefined;
      });
      const problems = [
        ...(isOfJob ? [] : ["The receipt is of another job."]),
        ...(posted === "another" ? ["The batch on the chain holds another receipt in its place."] : []),
        ...report.problems,
      ];
      const checked = ["job's id", ...(posted === "same" ? ["batch"] : []), ...report.checked];
      const unchecked = [...(posted === undefined ? [`batch: ${missing}`] : []), ...report.unchecked];
      const { payout, largestDifference } = report;
      printResult(options.json, {
        valid: problems.length === 0,
        job: jobId,
        checked,
        ...(unchecked.length > 0 && { unchecked }),
        ...(problems.length > 0 && { problems }),
        ...(largestDifference !== undefined && { largestDifference }),
        // Not the registered model's own attention: whoever asks must be told, right or not.
        ...(report.sparse && { sparse: { ...report.sparse } }),
        ...(payout && {
          operator: inOpen(payout.operator),
          treasury: inOpen(payout.treasury),
          credits: payout.credits.map(({ id, amount }) => ({ id, amount: inOpen(amount) })),
        }),
      });
      if (problems.length > 0) process.exitCode = EXIT.failed;
    } finally {
      await engine?.close();
      archive.close();
    }
  });
}

/** Settings under which the engine attends to what the trace names. What is no trace is refused later. */
function sparseOf(trace: Json): Pick<EngineSettings, "sparse" | "blockSize"> {
  try {
    const { sparse } = decodeTrace(bytesOf(trace)).inputs.model;
    return sparse ? { sparse, blockSize: sparse.blockSize } : {};
  } catch (error) {
    if (error instanceof MalformedTrace) return {};
    throw error;
  }
}

/** Whether the batch that an operator names holds the receipt; undefined while it is not on the chain. */
async function inBatch(archive: ChainArchive, channel: number, receipt: NonNullable<JobOnWire["receipt"]>) {
  const operator = archive.mirror.channel(channel)?.operator ?? 0;
  const posted = archive.mirror.batches(operator).find(({ header }) => header.sequence === BigInt(receipt.batch));
  if (!posted) return undefined;
  const batch = openData(posted.header, await readPublished(posted.header, archive));
  const body = batch?.receipts[receipt.index]?.body;
  return body && sameBytes(body, fromHex(receipt.body)) ? "same" : "another";
}

async function readJob(jobId: string, { operatorUrl, salt }: VerifyJobCommandOptions): Promise<JobOnWire> {
  const base = operatorUrl.replace(/\/(v1\/?)?$/, "");
  let response: Response;
  try {
    response = await fetch(`${base}/v1/jobs/${jobId}`, {
      headers: salt === undefined ? {} : { "x-openledger-salt": salt },
      signal: AbortSignal.timeout(30_000),
    });
  } catch (cause) {
    throw new Error(`Nobody answers at ${base}.`, { cause });
  }
  const body = (await response.json().catch(() => undefined)) as
    | (JobOnWire & { error?: { message: string } })
    | undefined;
  if (response.ok && body) return body;
  throw new Error(body?.error?.message ?? `${base} answered with status ${response.status}.`);
}

/** Hashed bytes are canonical JSON, so that what was parsed on the way gives the same again. */
function bytesOf(value: Json): Uint8Array {
  return new TextEncoder().encode(canonicalJson(value));
}
