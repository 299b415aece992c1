import type { Sequence, SequenceJob } from "./sequence.ts";
import { VirtualCounters } from "./virtual-counters.ts";

interface Group<S> {
  readonly payer: string;
  readonly adapterKey: string;
  readonly sequences: S[];
}

/**
 * Sequences that wait to be admitted, in fair order. Those of one payer with the same adapters wait in line; between
 * lines, the one goes first whose payer and adapters together have received the least service. Who has been passed by
 * twice as many as the queue holds goes before everybody, so that no pattern of arrivals can starve anyone.
 */
export class WaitingQueue<J extends SequenceJob> {
  private readonly groups = new Map<string, Group<Sequence<J>>>();
  private readonly payers = new VirtualCounters();
  private readonly adapters = new VirtualCounters();
  private readonly passLimit: number;
  private waiting = 0;
  private admissions = 0;

  constructor(capacity: number) {
    this.passLimit = 2 * capacity;
  }

  get size(): number {
    return this.waiting;
  }

  push(sequence: Sequence<J>): void {
    const { payer, adapterKey } = sequence.job;
    const key = JSON.stringify([payer, adapterKey]);
    let group = this.groups.get(key);
    if (group === undefined) {
      group = { payer, adapterKey, sequences: [] };
      this.groups.set(key, group);
    }
    group.sequences.push(sequence);
    sequence.admissionsBefore = this.admissions;
    this.payers.enter(payer);
    this.adapters.enter(adapterKey);
    this.waiting++;
  }

  /** Takes a sequence out without counting it as served: it was cancelled or failed. */
  remove(sequence: Sequence<J>): void {
    const { payer, adapterKey } = sequence.job;
    const key = JSON.stringify([payer, adapterKey]);
    const group = this.groups.get(key);
    const at = group?.sequences.indexOf(sequence) ?? -1;
    if (group === undefined || at < 0) return;
    group.sequences.splice(at, 1);
    if (group.sequences.length === 0) this.groups.delete(key);
    this.payers.leave(payer);
    this.adapters.leave(adapterKey);
    this.waiting--;
  }

  /** Takes a sequence out and charges what its input costs. */
  admit(sequence: Sequence<J>, cost: number): void {
    this.remove(sequence);
    this.admissions++;
    this.charge(sequence.job, cost);
  }

  /** Counts service given to a job. */
  charge(job: J, cost: number): void {
    this.payers.charge(job.payer, cost);
    this.adapters.charge(job.adapterKey, cost);
  }

  /** The lines that wait, the one to be served first at the front. A snapshot: sequences may be admitted meanwhile. */
  lines(): Line<J>[] {
    const lines: (Line<J> & { urgent: boolean; at: number; head: Sequence<J> })[] = [];
    for (const group of this.groups.values()) {
      const head = group.sequences[0];
      const urgent = this.admissions - head.admissionsBefore > this.passLimit;
      const service = () => this.payers.value(group.payer) + this.adapters.value(group.adapterKey);
      lines.push({ sequences: group.sequences, service, urgent, at: service(), head });
    }
    return lines.sort((a, b) => {
      if (a.urgent !== b.urgent) return a.urgent ? -1 : 1;
      return (a.urgent ? 0 : a.at - b.at) || a.head.job.arrival - b.head.job.arrival;
    });
  }
}

/** Sequences of one payer with the same adapters. */
export interface Line<J extends SequenceJob> {
  /** In order of arrival; shrinks as they are admitted. */
  readonly sequences: readonly Sequence<J>[];
  /** Service that payer and adapters have received by now. */
  service(): number;
}
