import type { Address, Hex } from "viem";
import type { ChannelInfo } from "../../protocol/registry-view.ts";
import type { MirrorStore } from "./mirror-store.ts";
import { byOrder, type Fact } from "./registry-events.ts";

/** A channel beyond what the protocol's rules ask for. Amounts are wei of OPEN, times seconds since 1970. */
export interface ChannelEntry extends ChannelInfo {
  payer: Address;
  /** What the payer has announced to withdraw; 0 for nothing. */
  thawing: bigint;
  thawReadyAt: number;
}

export function channelIn(store: MirrorStore, id: number): ChannelEntry | undefined {
  const [opened] = store.facts("ChannelOpened", id);
  if (!opened) return undefined;
  const { operator, sessionKey, payer } = opened.data as { operator: number; sessionKey: Hex; payer: Address };
  const withdrawals = store.facts("Withdrawn", id);
  const moved = newest([...store.facts("Deposited", id), ...withdrawals]);
  const thaw = newest([...withdrawals, ...store.facts("ThawStarted", id), ...store.facts("ThawCancelled", id)]);
  const thaws = thaw?.kind === "ThawStarted";
  return {
    operator,
    sessionKey,
    payer,
    deposit: BigInt((moved?.data.deposit as string | undefined) ?? 0),
    thawing: thaws ? BigInt(thaw.data.amount as string) : 0n,
    thawReadyAt: thaws ? Number(thaw.data.readyAt) : 0,
  };
}

function newest(facts: Fact[]): Fact | undefined {
  return facts.sort(byOrder).at(-1);
}
