import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Attribution, attributionOf } from "../api/attribution.ts";
import { receiptLeaves } from "../protocol/batch.ts";
import { decodeBatchData } from "../protocol/batch-data.ts";
import { type BatchTree, buildBatchTree, proveReceipt } from "../protocol/batch-tree.ts";
import { type Hex, sameBytes, toHex } from "../protocol/bytes.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { keccak } from "../protocol/keccak.ts";
import { publishedName } from "../settlement/publication.ts";
import type { ReceiptRecord } from "../settlement/sequencer.ts";
import type { GatewayOptions } from "./gateway-options.ts";

/** A sealed batch as far as this node knows it. */
export interface KnownBatch {
  header: BatchHeader;
  headerHash: Hex;
  /** `sealed`: not seen on the chain yet. `posted`: it may still fall. `final`: it cannot. */
  state: "sealed" | "posted" | "final";
  /** Seconds since 1970, once it is posted. */
  submittedAt?: number;
}

/** Shows that a receipt is in a batch. */
export interface InclusionProof {
  batch: KnownBatch;
  index: number;
  /** Siblings from the leaf to the receipts root. */
  siblings: Hex[];
}

/** Trees kept: building one of 16,384 receipts takes some milliseconds. */
const KEPT_TREES = 8;

/** What this node can say of receipts beyond the receipt: who earned, which batch holds it, and the proof of that. */
export class ReceiptsView {
  readonly #options: Pick<GatewayOptions, "operator" | "registry" | "books" | "publishedDirectory">;
  readonly #trees = new Map<string, BatchTree>();

  constructor(options: Pick<GatewayOptions, "operator" | "registry" | "books" | "publishedDirectory">) {
    this.#options = options;
  }

  /** Batches on the chain, by height from 1 on. */
  posted(): KnownBatch[] {
    const { registry, operator } = this.#options;
    return registry.batches(operator).map(({ header, headerHash, submittedAt, final }) => {
      return { header, headerHash, state: final ? "final" : "posted", submittedAt };
    });
  }

  attribution(record: ReceiptRecord): Attribution | { job_id: Hex } {
    const { registry, books } = this.#options;
    const registryTime =
      books?.batch(record.batch)?.registryTime ??
      this.#sealed(record.batch)?.header.registryTime ??
      // Of a batch that is open elsewhere: changes of the treasury's share are announced long before.
      record.completedAt;
    return attributionOf(record, registry, registryTime) ?? { job_id: record.jobId };
  }

  /** Undefined while the receipt's batch is open, or its data are not here. */
  async proof(record: ReceiptRecord): Promise<InclusionProof | undefined> {
    const batch = this.#sealed(record.batch);
    const tree = batch && (await this.#treeOf(batch.header));
    return tree && { batch, index: record.index, siblings: proveReceipt(tree, record.index).map(toHex) };
  }

  #sealed(sequence: number): KnownBatch | undefined {
    const posted = this.posted().findLast(({ header }) => header.sequence === BigInt(sequence));
    if (posted) return posted;
    const header = this.#options.books?.batch(sequence)?.header;
    return header && { header, headerHash: toHex(headerHash(header)), state: "sealed" };
  }

  async #treeOf(header: BatchHeader): Promise<BatchTree | undefined> {
    const key = toHex(header.receiptsRoot);
    const known = this.#trees.get(key);
    if (known) return known;
    const data = await this.#dataOf(header.dataHash);
    if (!data) return undefined;
    const tree = buildBatchTree(receiptLeaves(decodeBatchData(data).receipts));
    if (!sameBytes(tree.root, header.receiptsRoot)) return undefined;
    const oldest = this.#trees.keys().next();
    if (this.#trees.size >= KEPT_TREES && !oldest.done) this.#trees.delete(oldest.value);
    this.#trees.set(key, tree);
    return tree;
  }

  async #dataOf(dataHash: Uint8Array): Promise<Uint8Array | undefined> {
    const { books, publishedDirectory } = this.#options;
    const journaled = books?.published(dataHash);
    if (journaled || publishedDirectory === undefined) return journaled;
    const file = await readFile(join(publishedDirectory, publishedName(dataHash))).catch(() => undefined);
    return file && sameBytes(keccak(file), dataHash) ? file : undefined;
  }
}
