import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../../../operator/protocol/bytes.ts";
import {
  type CapLedger,
  confirmJob,
  forgetJob,
  openCapLedger,
  reserveCap,
} from "../../../operator/protocol/cap-ledger.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { stateRoot, summarise } from "../../../operator/protocol/state.ts";
import { Journal, type JournalOptions } from "../../../operator/settlement/journal/journal.ts";
import {
  LocalSequencer,
  type SequencerOptions,
  type SequencerRegistry,
} from "../../../operator/settlement/local-sequencer.ts";
import type { Outcome, PaidRequest } from "../../../operator/settlement/sequencer.ts";
import { randomReceipt, resigned } from "../protocol/jobs.ts";
import { createWorld, type World } from "../protocol/world.ts";

/** A request that a payer has signed for, with what a worker will make of it. */
export interface AskedJob {
  paid: PaidRequest;
  outcome: Outcome;
}

/** Payers of a world, each with its books, and workers that answer as the rules allow. */
export interface Customers {
  world: World;
  /** The world's registries as a mirror shows them; `thawing` and `head` may be moved. */
  registry: SequencerRegistry & { thawing: Map<number, bigint>; time: number };
  ledgers: Map<number, CapLedger>;
  ask(channel?: number, pinned?: { agent: number; version: number }): AskedJob;
}

export function customersOf(seed: number): Customers {
  const world = createWorld({ seed });
  const { dice } = world;
  const thawing = new Map<number, bigint>();
  const registry: Customers["registry"] = {
    thawing,
    time: world.registryTime,
    head: () => ({ time: registry.time }),
    channel: (id) => {
      const channel = world.registry.channel(id);
      return channel && { ...channel, thawing: thawing.get(id) ?? 0n };
    },
    agentVersion: (agent, version) => world.registry.agentVersion(agent, version),
    contribution: (id) => world.registry.contribution(id),
    lineage: (adapter, version, index) => world.registry.lineage(adapter, version, index),
    protocolShareAt: () => world.registry.protocolShareAt(),
  };
  const ledgers = new Map<number, CapLedger>();
  const ask: Customers["ask"] = (channel = dice.pick(world.channels), pinned = dice.pick(world.agents)) => {
    const receipt = randomReceipt(world, channel, pinned);
    const reservation = reserveCap(ledgers.get(channel) ?? openCapLedger(), receipt.voucher.maxPrice);
    if (!reservation) throw new Error("the payer has too many unresolved jobs");
    ledgers.set(channel, reservation.ledger);
    const [salt, request] = [dice.bytes(32), dice.bytes(dice.between(10, 200))];
    const { nonce, cap } = reservation;
    const voucher = resigned(world, { ...receipt.voucher, nonce, cap, requestHash: saltedHash(salt, request) });
    const { signature, ...unsigned } = voucher;
    const [response, trace] = [dice.bytes(40), dice.bytes(300)];
    const outcome: Outcome = {
      responseHash: toHex(saltedHash(salt, response)),
      traceHash: toHex(keccak(trace)),
      promptTokens: receipt.promptTokens,
      completionTokens: receipt.completionTokens,
      context: receipt.context,
      training: receipt.training,
      tools: receipt.tool,
      response,
      trace,
    };
    return { paid: { voucher: unsigned, signature: toHex(signature), request, salt: toHex(salt) }, outcome };
  };
  return { world, registry, ledgers, ask };
}

/** The payer has the receipt, or has heard that the job failed. */
export function settleLedger({ ledgers }: Customers, { paid }: AskedJob, price: bigint | undefined): void {
  const { channel, nonce } = paid.voucher;
  const ledger = ledgers.get(channel)!;
  ledgers.set(channel, price === undefined ? forgetJob(ledger, nonce) : confirmJob(ledger, nonce, price));
}

/** An operator's journal in a folder of its own, and its sequencer, which may be closed and opened again. */
export class Office {
  readonly folder = mkdtempSync(join(tmpdir(), "openledger-settlement-"));
  readonly customers: Customers;
  journal: Journal;
  sequencer: LocalSequencer;
  readonly #sequencerOptions: Partial<SequencerOptions>;

  constructor(
    customers: Customers,
    options: { journal?: Partial<JournalOptions>; sequencer?: Partial<SequencerOptions> } = {},
  ) {
    this.customers = customers;
    this.#sequencerOptions = options.sequencer ?? {};
    [this.journal, this.sequencer] = this.#open(options.journal);
  }

  get file(): string {
    return join(this.folder, "journal.sqlite");
  }

  /** As after the end of the process: everything in memory is forgotten. */
  reopen(options: Partial<JournalOptions> = {}): void {
    this.journal.close();
    [this.journal, this.sequencer] = this.#open(options);
  }

  close(): void {
    this.journal.close();
    rmSync(this.folder, { recursive: true });
  }

  #open(options: Partial<JournalOptions> = {}): [Journal, LocalSequencer] {
    return openOffice(this.file, this.customers, options, this.#sequencerOptions);
  }
}

export function openOffice(
  file: string,
  { world, registry }: Customers,
  journalOptions: Partial<JournalOptions> = {},
  sequencerOptions: Partial<SequencerOptions> = {},
): [Journal, LocalSequencer] {
  const journal = new Journal({ file, operator: world.operator, separator: world.separator, ...journalOptions });
  const clock = () => world.now - 1;
  try {
    return [journal, new LocalSequencer({ journal, registry, windows: world.windows, clock, ...sequencerOptions })];
  } catch (error) {
    journal.close();
    throw error;
  }
}

/** The hash that stands for all that the sequencer owes. */
export function rootOf(sequencer: LocalSequencer): string {
  return toHex(stateRoot(summarise(sequencer.state)));
}
