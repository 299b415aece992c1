import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seeded } from "../../operator/training/random.ts";
import { drawFacts, FULL_VARIETY, writeDocuments } from "./facts.ts";
import { DOMAINS, type Domain } from "./lexicon.ts";

const CONTRIBUTORS = ["elena", "farid", "greta"];
const DOCUMENTS_EACH = 6;

/**
 * Writes a DataNet of facts about one domain: short reports about things whose names the model never saw, each
 * contributor's in a folder of its own. For asking with retrieval. The same seed gives the same bytes.
 */
function writeKnowledgeNet(folder: string, domain: Domain, seed: number): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const contributions = CONTRIBUTORS.map((contributor) => ({ contributor, path: `contributions/${contributor}` }));
  for (const { contributor, path } of contributions) {
    mkdirSync(join(folder, path), { recursive: true });
    for (let i = 1; i <= DOCUMENTS_EACH; i++) {
      const random = seeded(seed, "knowledge", domain.id, contributor, i);
      const facts = drawFacts(random, 2 + random.int(2), { split: "fresh", domains: [domain.id] });
      const text = writeDocuments(random, facts, { ...FULL_VARIETY, documents: 0 });
      writeFileSync(join(folder, path, `report-${i}.md`), `${text}\n`);
    }
  }
  const manifest = {
    name: domain.id,
    title: `Reports on every ${domain.noun}`,
    version: 1,
    licence: "CC0-1.0",
    contributions,
  };
  writeFileSync(join(folder, "datanet.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Writes one such DataNet for every domain of the lexicon. */
export function writeKnowledgeNets(folder: string, seed: number): void {
  for (const domain of DOMAINS) writeKnowledgeNet(join(folder, domain.id), domain, seed);
}
