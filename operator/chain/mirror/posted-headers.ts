import { fromHex, type Hex } from "../../protocol/bytes.ts";
import type { BatchHeader } from "../../protocol/header.ts";
import type { Fact } from "./registry-events.ts";

/** A batch on the chain. */
export interface PostedHeader {
  header: BatchHeader;
  headerHash: Hex;
  /** Seconds since 1970. */
  submittedAt: number;
  final: boolean;
}

/**
 * The batches of one operator that stand.
 *
 * @param facts `BatchSubmitted`, `BatchFell` and `BatchFinalized` of one operator, in order.
 * @returns By height, from 1 on.
 */
export function postedHeaders(facts: readonly Fact[]): PostedHeader[] {
  const batches: PostedHeader[] = [];
  for (const { kind, b: height, time, data } of facts) {
    if (kind === "BatchFell") {
      // All above fell with it.
      batches.length = height - 1;
    } else if (kind === "BatchFinalized") {
      batches[height - 1].final = true;
    } else {
      const header = headerOf(data.header as Record<string, unknown>);
      batches[height - 1] = { header, headerHash: data.headerHash as Hex, submittedAt: time, final: false };
    }
  }
  return batches;
}

function headerOf(data: Record<string, unknown>): BatchHeader {
  const state = data.state as Record<string, string>;
  const bytes = (name: string) => fromHex(data[name] as string);
  return {
    operator: Number(data.operator),
    sequence: BigInt(data.sequence as string),
    height: BigInt(data.height as string),
    parentHash: bytes("parentHash"),
    registryTime: Number(data.registryTime),
    count: Number(data.count),
    receiptsRoot: bytes("receiptsRoot"),
    dataHash: bytes("dataHash"),
    state: {
      earnersRoot: fromHex(state.earnersRoot),
      channelsRoot: fromHex(state.channelsRoot),
      totalSpent: BigInt(state.totalSpent),
      treasuryEarned: BigInt(state.treasuryEarned),
      operatorEarned: BigInt(state.operatorEarned),
    },
  };
}
