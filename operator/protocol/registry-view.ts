import type { Hex } from "./bytes.ts";
import type { Composition } from "./composition.ts";

/** A payment channel as the chain has it. */
export interface ChannelInfo {
  operator: number;
  /** Address whose signature vouchers need. */
  sessionKey: Hex;
  /** All deposits less withdrawals, in wei of OPEN. */
  deposit: bigint;
  /** What the payer has announced to withdraw, in wei of OPEN; none when absent. */
  thawing?: bigint;
  /** From when on it may be withdrawn, seconds since 1970; 0 for nothing. */
  thawReadyAt?: number;
}

/** A published version of an agent. */
export interface AgentVersion {
  /** Seconds since 1970. */
  publishedAt: number;
  /** The composition's bytes, as published, and what they say. */
  bytes: Uint8Array;
  composition: Composition;
}

/** A data contribution. Times are seconds since 1970; zero means never. */
export interface ContributionInfo {
  dataNet: number;
  /** The first version of the DataNet that holds it. */
  fromVersion: number;
  /** The first version that no longer holds it; zero for none. */
  untilVersion: number;
  acceptedAt: number;
  withdrawnAt: number;
}

/** A version of a DataNet that an adapter was trained on. */
export interface LineageEntry {
  dataNet: number;
  version: number;
}

/**
 * What the rules ask of the registries. Records are append-only on the chain, so that a copy that has seen the
 * registry time answers as the contracts will.
 */
export interface RegistryView {
  channel(id: number): ChannelInfo | undefined;
  agentVersion(agent: number, version: number): AgentVersion | undefined;
  contribution(id: number): ContributionInfo | undefined;
  lineage(adapter: number, version: number, index: number): LineageEntry | undefined;
  /** The treasury's share in ppm at a time. */
  protocolShareAt(time: number): number;
}
