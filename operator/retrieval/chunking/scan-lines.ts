import type { Block } from "./block.ts";

interface Line {
  readonly start: number;
  /** Without the line's own ending. */
  readonly end: number;
  readonly text: string;
}

function* lines(text: string): Generator<Line> {
  let start = 0;
  while (start < text.length) {
    let next = text.indexOf("\n", start);
    if (next < 0) next = text.length;
    const end = next > start && text[next - 1] === "\r" ? next - 1 : next;
    yield { start, end, text: text.slice(start, end) };
    start = next + 1;
  }
}

const ATX_HEADING = /^ {0,3}(#{1,6})(?:\s|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)\s*$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const ITEM = /^\s*(?:[-*+•]|\d{1,9}[.)])\s+\S/;
const TABLE_ROW = /^\s*\|/;
const BLANK = /^\s*$/;

/** The block that is being read; lines are added until something ends it. */
interface OpenBlock {
  kind: "paragraph" | "item" | "table" | "code";
  start: number;
  end: number;
  lines: number;
}

/**
 * Blocks of a Markdown document: headings of both kinds, paragraphs, list items, tables, fenced code. One pass over the
 * lines; an unclosed fence reaches to the end, as CommonMark has it.
 */
export function scanMarkdown(text: string): Block[] {
  return scan(text, true);
}

/** Blocks of plain text: paragraphs parted by blank lines, and list items. */
export function scanPlainText(text: string): Block[] {
  return scan(text, false);
}

function scan(text: string, markdown: boolean): Block[] {
  const blocks: Block[] = [];
  let open: OpenBlock | undefined;
  let fence: string | undefined;
  const close = () => {
    if (open) blocks.push({ kind: open.kind, level: 0, start: open.start, end: open.end });
    open = undefined;
  };
  const begin = (kind: OpenBlock["kind"], line: Line) => {
    close();
    open = { kind, start: line.start, end: line.end, lines: 1 };
  };
  const extend = (line: Line) => {
    open!.end = line.end;
    open!.lines += 1;
  };

  for (const line of lines(text)) {
    if (fence !== undefined) {
      extend(line);
      const closing = FENCE.exec(line.text)?.[1];
      if (closing?.startsWith(fence) && BLANK.test(line.text.trimStart().slice(closing.length))) {
        close();
        fence = undefined;
      }
      continue;
    }
    if (BLANK.test(line.text)) {
      close();
      continue;
    }
    if (markdown) {
      const opening = FENCE.exec(line.text)?.[1];
      if (opening) {
        fence = opening;
        begin("code", line);
        continue;
      }
      const level = ATX_HEADING.exec(line.text)?.[1].length;
      if (level !== undefined) {
        close();
        blocks.push({ kind: "heading", level, start: line.start, end: line.end });
        continue;
      }
      const underline = UNDERLINE.exec(line.text)?.[1];
      if (underline && open?.kind === "paragraph" && open.lines === 1) {
        blocks.push({ kind: "heading", level: underline[0] === "=" ? 1 : 2, start: open.start, end: line.end });
        open = undefined;
        continue;
      }
    }
    if (TABLE_ROW.test(line.text)) {
      if (open?.kind === "table") extend(line);
      else begin("table", line);
    } else if (ITEM.test(line.text)) begin("item", line);
    else if (open && open.kind !== "table") extend(line);
    else begin("paragraph", line);
  }
  close();
  return blocks;
}

/** One block per line that is not blank: the records of a JSONL document. */
export function scanRecords(text: string): Block[] {
  const blocks: Block[] = [];
  for (const { start, end, text: line } of lines(text)) {
    if (!BLANK.test(line)) blocks.push({ kind: "record", level: 0, start, end });
  }
  return blocks;
}
