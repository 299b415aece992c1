import { open } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { toHex } from "../protocol/bytes.ts";
import { publishedName } from "../settlement/publication.ts";
import { ApiError } from "./api-error.ts";
import type { Gateway } from "./gateway.ts";
import type { KnownBatch } from "./receipts-view.ts";

/** Batches in one list. */
const PAGE = 100;

/** A batch's header in words, with where its data are. Amounts are wei of OPEN, decimal. */
export function batchBody({ header, headerHash, state, submittedAt }: KnownBatch) {
  const { totalSpent, treasuryEarned, operatorEarned, earnersRoot, channelsRoot } = header.state;
  return {
    object: "openledger.batch" as const,
    state,
    height: Number(header.height),
    sequence: Number(header.sequence),
    operator: header.operator,
    header_hash: headerHash,
    parent_hash: toHex(header.parentHash),
    registry_time: header.registryTime,
    count: header.count,
    receipts_root: toHex(header.receiptsRoot),
    data_hash: toHex(header.dataHash),
    earners_root: toHex(earnersRoot),
    channels_root: toHex(channelsRoot),
    total_spent: String(totalSpent),
    treasury_earned: String(treasuryEarned),
    operator_earned: String(operatorEarned),
    ...(submittedAt !== undefined && { submitted: submittedAt }),
    data_url: `/published/${publishedName(header.dataHash)}`,
  };
}

/** Batches on the chain, the newest first. @param before Only those below this height. */
export function batchList(before: string | undefined, { desk }: Gateway) {
  if (before !== undefined && !/^\d{1,15}$/.test(before)) {
    throw new ApiError(400, "before is no height.", { code: "invalid_value", param: "before" });
  }
  const limit = before === undefined ? Number.POSITIVE_INFINITY : Number(before);
  const batches = desk.receipts.posted().filter(({ header }) => Number(header.height) < limit);
  const page = batches.slice(-PAGE).reverse();
  return { object: "list" as const, data: page.map(batchBody), has_more: batches.length > page.length };
}

/** @throws {ApiError} 404. */
export function batchAt(height: string, { desk }: Gateway) {
  const batch = /^[1-9]\d{0,8}$/.test(height) ? desk.receipts.posted()[Number(height) - 1] : undefined;
  if (!batch) throw new ApiError(404, `The chain holds no batch ${height}.`, { code: "batch_not_found" });
  return batchBody(batch);
}

/** What is published of a batch. Its name is its hash, so that it never changes. @throws {ApiError} 404. */
export async function publishedData(name: string, { options }: Gateway): Promise<Response> {
  const notFound = () => new ApiError(404, "No such data are published here.", { code: "data_not_found" });
  const { publishedDirectory } = options;
  if (publishedDirectory === undefined || !/^[0-9a-f]{64}\.olbd$/.test(name)) throw notFound();
  const file = await open(join(publishedDirectory, name)).catch(() => undefined);
  if (!file) throw notFound();
  const { size } = await file.stat();
  // Closes the file when it was read, and when the reader leaves.
  const stream = Readable.toWeb(file.createReadStream());
  return new Response(stream as ReadableStream<Uint8Array>, {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(size),
      "cache-control": "public, max-age=31536000, immutable",
      etag: `"${name}"`,
    },
  });
}
