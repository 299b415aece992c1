import type { Block } from "./block.ts";

/** A stretch of a document's text that is indexed and retrieved as one. */
export interface TextChunk {
  /** First and one past the last UTF-16 unit; neither lies inside a surrogate pair or on white space. */
  readonly start: number;
  readonly end: number;
  /** Headings above this chunk, outermost first. */
  readonly headings: readonly string[];
}

const LONGEST_HEADING = 120;

/**
 * Packs blocks into chunks of at most `maxBytes` bytes of UTF-8. A chunk never crosses into another section, a record
 * is a chunk of its own, and a block that fits is never cut; one that does not is cut at a line's or a sentence's end,
 * else between words, else between characters.
 */
export function chunkBlocks(text: string, blocks: readonly Block[], maxBytes: number): TextChunk[] {
  const chunks: TextChunk[] = [];
  const path: { level: number; text: string }[] = [];
  let headings: string[] = [];
  let current: { start: number; end: number; headings: string[]; hasBody: boolean } | undefined;

  const flush = () => {
    if (current) push(chunks, text, current.start, current.end, current.headings);
    current = undefined;
  };

  for (const block of blocks) {
    if (block.kind === "heading") {
      if (current?.hasBody) flush();
      while (path.length > 0 && path[path.length - 1].level >= block.level) path.pop();
      path.push({
        level: block.level,
        text: headingText(text.slice(block.start, Math.min(block.end, block.start + 500))),
      });
      headings = path.map((entry) => entry.text).filter((entry) => entry !== "");
    }
    const alone = block.kind === "record";
    if (alone || (current && !fits(text, current.start, block.end, maxBytes))) flush();
    if (!current && !fits(text, block.start, block.end, maxBytes)) {
      cut(chunks, text, block, headings, maxBytes);
      continue;
    }
    current ??= { start: block.start, end: block.end, headings, hasBody: false };
    current.end = block.end;
    current.headings = headings;
    current.hasBody ||= block.kind !== "heading";
    if (alone) flush();
  }
  flush();
  return chunks;
}

function headingText(line: string): string {
  const text = line
    .replace(/^\s*#{1,6}\s*/, "")
    .replace(/\n\s*(?:=+|-+)\s*$/, "")
    .replace(/\s+#*\s*$/, "")
    .trim();
  return text.slice(0, LONGEST_HEADING).toWellFormed();
}

function fits(text: string, start: number, end: number, maxBytes: number): boolean {
  // A UTF-16 unit is at least one byte, which spares measuring what cannot fit.
  return end - start <= maxBytes && Buffer.byteLength(text.slice(start, end)) <= maxBytes;
}

function push(chunks: TextChunk[], text: string, start: number, end: number, headings: readonly string[]): void {
  const body = text.slice(start, end);
  const from = start + (body.length - body.trimStart().length);
  const to = start + body.trimEnd().length;
  if (to > from) chunks.push({ start: from, end: to, headings });
}

function cut(chunks: TextChunk[], text: string, block: Block, headings: readonly string[], maxBytes: number): void {
  let start = block.start;
  while (start < block.end) {
    const reach = furthest(text, start, block.end, maxBytes);
    const end = reach === block.end ? reach : start + breakpoint(text.slice(start, reach), block.kind);
    push(chunks, text, start, end, headings);
    start = end;
  }
}

/** How far from `start` a text of at most `maxBytes` bytes reaches without splitting a character. */
function furthest(text: string, start: number, limit: number, maxBytes: number): number {
  let bytes = 0;
  let unit = start;
  while (unit < limit) {
    const code = text.codePointAt(unit)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > maxBytes && unit > start) break;
    unit += code < 0x10000 ? 1 : 2;
  }
  return unit;
}

const SENTENCE_END = /[.!?…]["')\]]*\s|[。！？]/g;

/** Where to cut a stretch that is as long as a chunk may be: in its later half if there is a good place. */
function breakpoint(stretch: string, kind: Block["kind"]): number {
  const half = stretch.length >> 1;
  const line = stretch.lastIndexOf("\n") + 1;
  if (kind !== "paragraph" && line > half) return line;
  let sentence = 0;
  for (const match of stretch.matchAll(SENTENCE_END)) sentence = match.index + match[0].length;
  if (sentence > half) return sentence;
  if (line > half) return line;
  const space = stretch.search(/\s\S*$/) + 1;
  return space > half ? space : stretch.length;
}
