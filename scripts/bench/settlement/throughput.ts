import { settlingTime } from "../../../operator/protocol/bounds.ts";
import { replayBatch } from "../../../operator/protocol/replay.ts";
import { emptyState } from "../../../operator/protocol/state.ts";
import { readChainView } from "../../stage/chain-view.ts";
import type { Stage } from "../../stage/stage.ts";
import { type Cast, openForService } from "./cast.ts";
import { buildBatch, openBooks, signJobs } from "./serve.ts";

/**
 * Receipts a second through the protocol on one thread, six payees each: appending (voucher's signature, rules, split,
 * both trees) and replaying (the same again, with every leaf and the batch's tree).
 */
export async function throughput(stage: Stage, cast: Cast, count: number): Promise<{ append: number; replay: number }> {
  const books = openBooks(await openForService(stage));
  const registry = await readChainView(stage);
  const now = await stage.now();
  const context = {
    operator: books.served.operator,
    registryTime: now,
    submittedAt: now,
    windows: { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) },
    separator: stage.separator,
    registry,
  };
  const warm = openBooks(books.served);
  buildBatch(warm, context, signJobs(cast, warm, context, 500, 6));

  const receipts = signJobs(cast, books, context, count, 6);
  let started = performance.now();
  const batch = buildBatch(books, context, receipts);
  const append = (count / (performance.now() - started)) * 1000;
  started = performance.now();
  const { wrong } = replayBatch(emptyState(), batch, context);
  if (wrong) throw new Error(`The replay found verdict ${wrong.step.verdict} in an honest batch.`);
  return { append, replay: (count / (performance.now() - started)) * 1000 };
}
