import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildVerbatimCorpus } from "../../../../operator/attribution/verbatim/build-corpus.ts";
import { VerbatimCorpus } from "../../../../operator/attribution/verbatim/verbatim-corpus.ts";
import { type DataNetIndex, openDataNetIndex } from "../../../../operator/retrieval/data-net-index.ts";
import type { AcceptedContribution } from "../../../../operator/retrieval/data-net-input.ts";
import { ingestDataNet } from "../../../../operator/retrieval/ingest.ts";

/** Indexes in a temporary folder. */
export class Corpora {
  readonly #directory = mkdtempSync(join(tmpdir(), "verbatim-"));
  readonly #open: (VerbatimCorpus | DataNetIndex)[] = [];
  #next = 1;

  async index(contributions: readonly AcceptedContribution[]): Promise<DataNetIndex> {
    const dataNet = this.#next++;
    await ingestDataNet({ directory: this.#directory, dataNet, version: 1, contributions });
    const index = openDataNetIndex(this.#directory, dataNet, 1);
    this.#open.push(index);
    return index;
  }

  /** One text document for each contribution id. */
  async build(texts: Readonly<Record<number, string>>, shardWords?: number): Promise<VerbatimCorpus> {
    const contributions = Object.entries(texts).map(([id, text]) => ({
      contribution: Number(id),
      documents: [{ path: "text.txt", bytes: Buffer.from(text) }],
    }));
    const index = await this.index(contributions);
    await buildVerbatimCorpus(index, shardWords);
    const corpus = new VerbatimCorpus(index);
    this.#open.push(corpus);
    return corpus;
  }

  close(): void {
    for (const open of this.#open.reverse()) open.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
