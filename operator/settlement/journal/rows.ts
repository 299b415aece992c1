import { toHex } from "../../protocol/bytes.ts";
import { type BatchHeader, decodeHeader } from "../../protocol/header.ts";
import { decodeReceipt } from "../../protocol/receipt.ts";
import type { JobRecord, JobState, ReceiptRecord } from "../sequencer.ts";
import { decodeVoucher } from "./voucher-bytes.ts";

export interface JournaledBatch {
  sequence: number;
  registryTime: number;
  /** Undefined while the batch is open. */
  header: BatchHeader | undefined;
}

export interface JobRow {
  position: number;
  id: Uint8Array;
  state: JobState;
  voucher: Uint8Array;
  request: Uint8Array;
  salt: Uint8Array;
  admitted_at: number;
  reason: string | null;
}

export interface ReceiptRow {
  position: number;
  job: Uint8Array;
  channel: number;
  batch: number;
  place: number;
  charged: string;
  body: Uint8Array;
  state_root: Uint8Array;
  completed_at: number;
}

export interface BatchRow {
  sequence: number;
  registry_time: number;
  header: Uint8Array | null;
}

/** Without answer and trace, which are large. */
export const SELECT_RECEIPT =
  "SELECT position, job, channel, batch, place, charged, body, state_root, completed_at FROM receipt";

export function jobOf(row: JobRow): JobRecord {
  const { request, salt, state } = row;
  const voucher = decodeVoucher(row.voucher);
  const job: JobRecord = { jobId: toHex(row.id), state, voucher, request, salt, admittedAt: row.admitted_at };
  return row.reason === null ? job : { ...job, reason: row.reason };
}

export function receiptOf(row: ReceiptRow): ReceiptRecord {
  return {
    jobId: toHex(row.job),
    channel: row.channel,
    position: row.position,
    batch: row.batch,
    index: row.place,
    price: decodeReceipt(row.body).price,
    charged: BigInt(row.charged),
    body: row.body,
    stateRoot: row.state_root,
    completedAt: row.completed_at,
  };
}

export function batchOf({ sequence, registry_time, header }: BatchRow): JournaledBatch {
  return { sequence, registryTime: registry_time, header: header ? decodeHeader(header) : undefined };
}
