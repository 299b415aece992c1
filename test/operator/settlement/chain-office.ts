import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mnemonicToAccount } from "viem/accounts";
import { TransactionSender } from "../../../operator/chain/transactions.ts";
import { settlingTime } from "../../../operator/protocol/bounds.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { confirmJob, reserveCap } from "../../../operator/protocol/cap-ledger.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { signDigest } from "../../../operator/protocol/signature.ts";
import { voucherDigest } from "../../../operator/protocol/voucher.ts";
import type { ChainPort } from "../../../operator/settlement/chain-port.ts";
import { Journal } from "../../../operator/settlement/journal/journal.ts";
import { LocalSequencer, type SequencerRegistry } from "../../../operator/settlement/local-sequencer.ts";
import { Settler, type SettlerOptions } from "../../../operator/settlement/settler.ts";
import { viemChainPort } from "../../../operator/settlement/viem-chain-port.ts";
import { cast, type Operator, openOperator, type Registered, registerEverything } from "../../../scripts/stage/cast.ts";
import { readChainView } from "../../../scripts/stage/chain-view.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";

/** The local network's accounts; Olga's is the tenth. */
const MNEMONIC = "test test test test test test test test test test test junk";
const OLGA = 9;

/** An operator whose contracts, channels and payers are real, on a chain in this process. */
export class ChainOffice {
  readonly folder = mkdtempSync(join(tmpdir(), "openledger-settler-"));
  readonly stage: Stage;
  readonly olga: Operator;
  readonly registered: Registered;
  /** The chain's registries; a test may let it say what is not so. */
  readonly registry: SequencerRegistry;
  readonly sender: TransactionSender;
  journal!: Journal;
  sequencer!: LocalSequencer;
  /** The chain's clock. */
  now = 0;

  constructor(stage: Stage, olga: Operator, registered: Registered, view: SequencerRegistry) {
    this.stage = stage;
    this.olga = olga;
    this.registered = registered;
    this.registry = { ...view, head: () => ({ time: this.now }) };
    const account = mnemonicToAccount(MNEMONIC, { addressIndex: OLGA });
    const file = join(this.folder, "sent.sqlite");
    this.sender = new TransactionSender({ client: stage.client, account, file, interval: 5 });
  }

  static async open(): Promise<ChainOffice> {
    const stage = await openStage();
    const people = cast(stage);
    const registered = await registerEverything(stage, people);
    const olga = await openOperator(stage, people.Olga, [people.Paul, people.Quinn]);
    const view = await readChainView(stage);
    const channel: SequencerRegistry["channel"] = (id) => {
      const info = view.channel(id);
      return info && { ...info, thawing: 0n };
    };
    const office = new ChainOffice(stage, olga, registered, { ...view, channel, head: () => undefined });
    office.now = await stage.now();
    office.start();
    return office;
  }

  /** As a process that starts. */
  start(): void {
    const { stage, registry } = this;
    const file = join(this.folder, "journal.sqlite");
    this.journal = new Journal({ file, operator: this.olga.id, separator: stage.separator });
    const windows = { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) };
    const clock = () => this.now;
    this.sequencer = new LocalSequencer({ journal: this.journal, registry, windows, clock, postingDelay: 60 });
  }

  async close(): Promise<void> {
    this.journal.close();
    this.sender.close();
    await this.stage.close();
    rmSync(this.folder, { recursive: true });
  }

  settlerWith(options: Partial<SettlerOptions> = {}): Settler {
    const { journal, sequencer } = this;
    const { windows } = this.stage.parameters;
    const directory = join(this.folder, "published");
    const limits = { batchReceipts: 10, batchSeconds: 600, clock: () => this.now };
    return new Settler({ journal, sequencer, chain: this.chainPort(), directory, windows, ...limits, ...options });
  }

  chainPort(): ChainPort {
    const { client, deployment } = this.stage;
    return viemChainPort({ client, sender: this.sender, deployment, payeesOf: () => [], confirmations: 0 });
  }

  async wait(seconds: number): Promise<void> {
    await this.stage.wait(seconds);
    this.now = await this.stage.now();
  }

  /** Paid jobs from both payers, answered. */
  async serve(count: number, contribution?: number): Promise<string[]> {
    this.now = await this.stage.now();
    const { agent, contributions } = this.registered;
    const jobs: string[] = [];
    for (let i = 0; i < count; i++) {
      const paid = this.olga.channels[i % this.olga.channels.length];
      const maxPrice = 10n ** 16n;
      const { nonce, cap, ledger } = reserveCap(paid.ledger, maxPrice)!;
      const [salt, request, response, trace] = [32, 50, 60, 70].map((length) => new Uint8Array(randomBytes(length)));
      const requestHash = saltedHash(salt, request);
      const expiry = BigInt(this.now + 600);
      const voucher = { channel: paid.channel, nonce, agent, version: 1, requestHash, maxPrice, cap, expiry };
      const signature = toHex(signDigest(voucherDigest(this.stage.separator, voucher), paid.key));
      const { jobId } = await this.sequencer.admit({ voucher, signature, request, salt: toHex(salt) });
      const { price } = await this.sequencer.complete(jobId, {
        responseHash: toHex(saltedHash(salt, response)),
        traceHash: toHex(keccak(trace)),
        promptTokens: 100 + i,
        completionTokens: 30,
        context: [{ id: contribution ?? contributions[i % contributions.length], ppm: 1_000_000, via: 0 }],
        training: [],
        tools: [],
        response,
        trace,
      });
      paid.ledger = confirmJob(ledger, nonce, price);
      jobs.push(jobId);
    }
    return jobs;
  }

  async tip(): Promise<bigint> {
    return (await this.stage.contracts.settlement.read.chainOf([this.olga.id])).tip;
  }

  /** Puts up the smallest bond again, once the one before was slashed. */
  async bond(): Promise<void> {
    const { token, operators } = this.stage.contracts;
    const { minimumBond } = this.stage.parameters;
    await this.stage.gasOf(token.write.approve([operators.address, minimumBond]));
    await this.stage.gasOf(operators.write.depositBond([this.olga.id, minimumBond]));
  }
}
