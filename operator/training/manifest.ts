import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { type Hex, toHex } from "../protocol/bytes.ts";
import { keccak } from "../protocol/keccak.ts";
import type { AdapterSettings } from "./lora/settings.ts";

/** Place of a training document: DataNet and contribution (indices into the manifest), path or path:line. */
export type DocumentPlace = readonly [dataNet: number, contribution: number, place: string];

/**
 * Where an adapter comes from: everything needed to train it again, and to pay those whose documents it learned from.
 * The same training gives the same file, so it carries no times or paths.
 */
export interface LineageManifest {
  readonly format: "openledger-lineage-1";
  /** `hash`: SHA-256 over the base model's configuration and weights. */
  readonly baseModel: { readonly name: string; readonly hash: string };
  /** SHA-256 over the adapter's configuration and weights, as the engine identifies it. */
  readonly adapterHash: string;
  readonly settings: AdapterSettings;
  /** Threads used: sums are added in another order with another number. */
  readonly threads: number;
  readonly dataNets: readonly {
    /** 0 while the DataNet is not registered. */
    readonly id: number;
    readonly version: number;
    readonly name: string;
    readonly contributions: readonly { readonly id: number; readonly contributor: string; readonly contentRoot: Hex }[];
  }[];
  /** In the order in which they are recorded for influence; `loss` is that of the trained adapter, in nats per token. */
  readonly documents: readonly { readonly at: DocumentPlace; readonly loss: number }[];
  readonly evaluation: {
    readonly documents: readonly DocumentPlace[];
    readonly lossBefore: number | null;
    readonly lossAfter: number | null;
  };
}

/** Writes the manifest, atomically. @returns Keccak-256 of the file. */
export function writeManifest(path: string, manifest: LineageManifest): Hex {
  const bytes = new TextEncoder().encode(`${JSON.stringify(manifest, null, 1)}\n`);
  writeFileSync(`${path}.draft`, bytes);
  renameSync(`${path}.draft`, path);
  return toHex(keccak(bytes));
}

/** Reads a manifest. @throws if it is not one. */
export function readManifest(path: string): LineageManifest {
  const value: unknown = JSON.parse(readFileSync(path, "utf8"));
  const manifest = value as LineageManifest;
  if (manifest?.format !== "openledger-lineage-1") throw new Error(`${path} is not a lineage manifest.`);
  return manifest;
}
