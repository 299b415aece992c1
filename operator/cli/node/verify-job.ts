import { join, resolve } from "node:path";
import { readEvidence } from "../../auditing/evidence-file.ts";
import { type ExaminedJob, examineJob } from "../../auditing/examine-job.ts";
import { includedAt } from "../../auditing/inclusion.ts";
import { hashedBytes, readShownJob, type ShownJob } from "../../auditing/shown-job.ts";
import { engineOf } from "../../auditing/traced-engine.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../engine/worker/embedded-engine.ts";
import { modelFolder } from "../../hub/locate.ts";
import { readPublished } from "../../node/watching.ts";
import { fromHex, type Hex, ZERO_HASH } from "../../protocol/bytes.ts";
import { decodeReceipt } from "../../protocol/receipt.ts";
import { openData } from "../../protocol/replay.ts";
import { type ChainView, inOpen, note, openChain, printResult } from "../chain/chain-session.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import { progressLine } from "../progress-line.ts";
import type { VerifyJobCommandOptions } from "../verify.ts";
import { type ChainArchive, openArchive } from "./chain-archive.ts";

/** `openledger verify job` */
export async function verifyJobOf(jobId: string | undefined, options: VerifyJobCommandOptions): Promise<void> {
  const gather = await sourceOf(jobId, options);
  const view = await openChain(options);
  await interruptible(async (signal) => {
    const fetching = { say: progressLine(), signal };
    const archive = await openArchive(view, options, signal);
    let engine: EmbeddedEngine | undefined;
    try {
      const job = await gather(archive);
      const model = options.model === undefined ? undefined : await modelFolder(options.model, fetching);
      if (model) {
        note(`Starting the engine with ${model} ...`);
        const cache = join(openLedgerHome(), "graphs");
        engine = await startEmbeddedEngine({ model, exact: true, cache, ...engineOf(job.trace) });
      }
      const { problems, checked, unchecked, largestDifference, sparse, payout } = await examineJob(job, {
        ...{ mirror: archive.mirror, fetcher: archive.content, separator: archive.separator, signal },
        directory: join(openLedgerHome(), "serving"),
        ...(model && { model }),
        ...(engine && { engine }),
      });
      printResult(options.json, {
        valid: problems.length === 0,
        job: job.jobId,
        checked,
        ...(unchecked.length > 0 && { unchecked }),
        ...(problems.length > 0 && { problems }),
        ...(largestDifference !== undefined && { largestDifference }),
        // Not the registered model's own attention: whoever asks must be told, right or not.
        ...(sparse && { sparse: { ...sparse } }),
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

type Gather = (archive: ChainArchive) => Promise<ExaminedJob>;

/** From where the job comes: its operator, which is asked at once, or a file of evidence. */
async function sourceOf(jobId: string | undefined, options: VerifyJobCommandOptions): Promise<Gather> {
  const { evidence, operatorUrl, salt } = options;
  if (evidence !== undefined) {
    if (jobId !== undefined || operatorUrl !== undefined || salt !== undefined) {
      throw new Error("--evidence FILE holds job, answer and salt: name none of them beside it.");
    }
    return async (archive) => readEvidence(resolve(evidence), domainOf(archive));
  }
  if (jobId === undefined || operatorUrl === undefined) {
    throw new Error("Name a job and where its operator is reached (--operator-url), or a file of evidence.");
  }
  if (!/^0x[0-9a-fA-F]{64}$/.test(jobId)) throw new Error("A job's id is 0x and 64 digits.");
  const job = await readShownJob(operatorUrl, jobId as Hex, salt === undefined ? {} : { salt: salt as Hex });
  return (archive) => shownBy(job, { jobId: jobId as Hex, salt: salt as Hex | undefined }, archive);
}

async function shownBy(
  { state, reason, receipt, request, answer, trace }: ShownJob,
  { jobId, salt }: { jobId: Hex; salt: Hex | undefined },
  archive: ChainArchive,
): Promise<ExaminedJob> {
  if (!receipt) throw new Error(`Job ${jobId} has no receipt: it is ${state}${reason ? `, ${reason}` : ""}.`);
  if (trace === undefined) {
    throw new Error("The trace is shown to whoever has the request's salt (--salt), until the operator empties it.");
  }
  return {
    jobId,
    trace: hashedBytes(trace),
    receipt: fromHex(receipt.body),
    completedAt: receipt.completed,
    ...(salt !== undefined && { salt: fromHex(salt) }),
    ...(request !== undefined && { request: hashedBytes(request) }),
    ...(answer !== undefined && { response: hashedBytes(answer) }),
    place: await placeOf(receipt, archive),
  };
}

/** Where the operator says that the receipt stands. */
async function placeOf(
  receipt: NonNullable<ShownJob["receipt"]>,
  archive: ChainArchive,
): Promise<ExaminedJob["place"]> {
  const { channel } = decodeReceipt(fromHex(receipt.body)).voucher;
  const operator = archive.mirror.channel(channel)?.operator ?? 0;
  const posted = archive.mirror.batches(operator).find(({ header }) => header.sequence === BigInt(receipt.batch));
  if (!posted) return { missing: "it is not on the chain yet" };
  try {
    const batch = openData(posted.header, await readPublished(posted.header, archive));
    const place = batch && includedAt(batch, receipt.index);
    // Where nothing stands, nothing leads to the root.
    return place ?? { header: posted.header, index: receipt.index, stateRoot: ZERO_HASH, siblings: [] };
  } catch (error) {
    return { missing: `its data cannot be had: ${(error as Error).message}` };
  }
}

function domainOf({ deployment: { chainId, contracts } }: ChainView) {
  return { chainId: BigInt(chainId), verifyingContract: contracts.channels };
}
