import { readPublished } from "../../node/watching.ts";
import { openData, replayBatch } from "../../protocol/replay.ts";
import { emptyState } from "../../protocol/state.ts";
import { verdictName } from "../../protocol/verdict.ts";
import { newestFinalSnapshot } from "../../settlement/final-snapshot.ts";
import { note, openChain, printResult } from "../chain/chain-session.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import type { VerifyBatchCommandOptions } from "../verify.ts";
import { openArchive } from "./chain-archive.ts";

/** `openledger verify batch` */
export async function verifyBatch(operator: number, height: number, options: VerifyBatchCommandOptions): Promise<void> {
  const view = await openChain(options);
  await interruptible(async (signal) => {
    const archive = await openArchive(view, options, signal);
    try {
      const { mirror, windows, separator } = archive;
      const batches = mirror.batches(operator);
      if (height > batches.length) {
        throw new Error(`Operator ${operator} has ${batches.length} batches on the chain, as far as it is settled.`);
      }
      const range = { above: 0, upTo: height - 1 };
      const start = options.all
        ? undefined
        : await newestFinalSnapshot(batches, range, (header) => readPublished(header, archive));
      if (start)
        note(`Batches up to ${start.height} are final: their published state is the start (--all replays them)`);
      let state = start?.state ?? emptyState();
      let receipts = 0;
      const below = start?.height ?? 0;
      // Each batch builds on the state after the one below: only all of them can show that this one is right.
      for (const { header, submittedAt } of batches.slice(below, height)) {
        signal.throwIfAborted();
        const batch = openData(header, await readPublished(header, archive));
        if (!batch) throw new Error(`What is published of batch ${header.height} is not what its header commits to.`);
        const { registryTime } = header;
        const context = { operator, registryTime, submittedAt, windows, separator, registry: mirror };
        const { after, wrong } = replayBatch(state, batch, context);
        if (wrong) {
          const { index, step } = wrong;
          process.exitCode = EXIT.lie;
          const verdict = verdictName(step.verdict);
          return printResult(options.json, {
            valid: false,
            operator,
            height: Number(header.height),
            receipt: index,
            verdict,
          });
        }
        state = after;
        receipts += header.count;
        note(`Batch ${header.height}: ${header.count} receipts are right`);
      }
      printResult(options.json, { valid: true, operator, height, batches: height - below, receipts });
    } finally {
      archive.close();
    }
  });
}
