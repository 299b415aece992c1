import { ApiError } from "./api-error.ts";
import type { Gateway } from "./gateway.ts";
import { receiptBody } from "./job-route.ts";

/**
 * What a channel was charged, with the receipts that prove it.
 *
 * @param id As the client wrote it. @param since Position of the last receipt that the asker has.
 * @throws {ApiError} 404 or 400.
 */
export async function channelBody(id: string, since: string | undefined, { options }: Gateway) {
  const channel = /^\d{1,10}$/.test(id) ? Number(id) : Number.NaN;
  if (!(channel <= 0xffffffff)) throw new ApiError(404, "A channel's id is a number.", { code: "channel_not_found" });
  if (since !== undefined && !/^\d{1,18}$/.test(since)) {
    throw new ApiError(400, "since is no position of a receipt.", { code: "invalid_value", param: "since" });
  }
  const { charged, reserved, receipts } = await options.sequencer.channel(channel, BigInt(since ?? 0));
  return {
    id: channel,
    object: "openledger.channel" as const,
    charged: String(charged),
    reserved: String(reserved),
    receipts: receipts.map((record) => ({ job_id: record.jobId, ...receiptBody(record) })),
  };
}
