import type { DataNetIndex, IndexedDocument } from "../retrieval/data-net-index.ts";
import { withoutJoiners } from "./plain-text.ts";
import type { TraceInputs } from "./trace.ts";
import { type PassagePlace, type Source, sourceTexts } from "./traced-prompt.ts";

/** Bytes that a label and separators around a passage may take. */
const LABEL_BYTES = 200;

/**
 * Whether what stands in the prompt in a contribution's name really is that contribution's: every passage is where it is
 * said to be, and beside its passages a source has room for labels only.
 *
 * @param indexes The DataNet versions that the agent version pins.
 * @returns What is wrong, in words.
 */
export function checkPassages(inputs: TraceInputs, indexes: readonly DataNetIndex[]): string[] {
  const problems: string[] = [];
  const texts = sourceTexts(inputs.prompt, inputs.sources);
  const documents = new Map<DataNetIndex, Map<string, IndexedDocument>>();
  for (const index of indexes) {
    documents.set(index, new Map(index.documents().map((entry) => [`${entry.contribution}/${entry.path}`, entry])));
  }
  inputs.sources.forEach((source, i) => {
    if (source.kind !== "contribution") return;
    let rest = withoutJoiners(texts[i]);
    for (const place of source.passages ?? []) {
      const text = readPassage(source, place, documents);
      const at = text === undefined ? -1 : rest.indexOf(text);
      if (text === undefined || at < 0) {
        problems.push(
          `Contribution ${source.id} has no such passage in the prompt: ${place.path}, bytes ${place.start} to ${place.end}.`,
        );
      } else rest = rest.slice(0, at) + rest.slice(at + text.length);
    }
    if (Buffer.byteLength(rest) > LABEL_BYTES * (source.passages?.length ?? 0)) {
      problems.push(`Contribution ${source.id} is credited with text that is none of its passages.`);
    }
  });
  return problems;
}

function readPassage(
  source: Source,
  place: PassagePlace,
  documents: ReadonlyMap<DataNetIndex, ReadonlyMap<string, IndexedDocument>>,
): string | undefined {
  for (const [index, known] of documents) {
    if (index.dataNet !== place.dataNet || index.version !== place.version) continue;
    const document = known.get(`${source.id}/${place.path}`);
    if (!document || document.rangeOver !== place.rangeOver) return undefined;
    if (place.end > document.bytes || place.start >= place.end) return undefined;
    return withoutJoiners(index.documentBytes(document.id, place.start, place.end).toString("utf8"));
  }
  return undefined;
}
