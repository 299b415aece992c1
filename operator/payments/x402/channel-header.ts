import { malformed, PAYMENT_HEADERS } from "./wire.ts";

/** The channel that an asker will pay from, and the last of its receipts that the asker has. */
export interface NamedChannel {
  channel: number;
  /** A receipt's position; 0 for none. */
  since: bigint;
}

/** The value of `x-openledger-channel`: `7`, or `7;since=41`. */
export function encodeChannelHeader({ channel, since }: NamedChannel): string {
  return since === 0n ? `${channel}` : `${channel};since=${since}`;
}

/** @throws {PaymentError} `malformed`. */
export function decodeChannelHeader(text: string): NamedChannel {
  const match = /^(\d{1,10})(?:;since=(\d{1,18}))?$/.exec(text.trim());
  const channel = Number(match?.[1]);
  if (!match || channel > 0xffffffff) throw malformed(PAYMENT_HEADERS.channel, "it is not like 7;since=41");
  return { channel, since: BigInt(match[2] ?? 0) };
}
