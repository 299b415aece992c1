import { Parser } from "htmlparser2";
import type { Block } from "../chunking/block.ts";
import { DocumentRefused } from "./document-refused.ts";

const SKIPPED = new Set(["script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select"]);
const HEADING = /^h[1-6]$/;
/** Elements that end the block before them and the one inside them. */
const BLOCKS = new Set(
  (
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure " +
    "footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol p pre section summary table tbody tfoot " +
    "thead title tr ul"
  ).split(" "),
);
const VOID = new Set("area base br col embed hr img input link meta source track wbr".split(" "));

/**
 * The visible text of an HTML page, with its structure. White space is folded as a browser shows it, blocks are parted by
 * a blank line, table rows stay lines. What a reader would not see (scripts, styles, `hidden`, `display: none`) is left
 * out, so that nobody is paid for text that no person can check. Works on events without building a tree: nesting costs
 * no stack.
 *
 * @throws {DocumentRefused} When the text grows past `maxTextBytes`, or the character set is unknown or does not fit.
 */
export function readHtml(bytes: Uint8Array, charset: string | undefined, maxTextBytes: number) {
  const page = new PageText(maxTextBytes);
  const parser = new Parser(
    {
      onopentag: (name, attributes) => page.open(name, attributes),
      onclosetag: (name) => page.close(name),
      ontext: (text) => page.text(text),
    },
    { decodeEntities: true, lowerCaseTags: true, lowerCaseAttributeNames: true },
  );
  parser.end(decodePage(bytes, charset));
  return page.finish();
}

class PageText {
  readonly #maxTextBytes: number;
  readonly #blocks: Block[] = [];
  readonly #parts: string[] = [];
  #length = 0;
  #bytes = 0;
  /** Text of the block that is open, and where a pending space may go. */
  #block = "";
  #kind: Block["kind"] = "paragraph";
  #level = 0;
  #preformatted = 0;
  /** Depth inside an element that is not shown, 0 outside. */
  #hidden = 0;

  constructor(maxTextBytes: number) {
    this.#maxTextBytes = maxTextBytes;
  }

  open(name: string, attributes: Readonly<Record<string, string>>): void {
    if (VOID.has(name)) {
      if (this.#hidden > 0) return;
      if (name === "br") this.#block += "\n";
      else if (name === "hr") this.#end();
      return;
    }
    if (this.#hidden > 0 || SKIPPED.has(name) || isInvisible(attributes)) {
      this.#hidden += 1;
      return;
    }
    if (name === "td" || name === "th") {
      if (this.#block !== "" && !this.#block.endsWith("\n")) this.#block += " | ";
      return;
    }
    if (!BLOCKS.has(name)) return;
    if (name === "tr" && this.#kind === "table") {
      this.#newRow();
      return;
    }
    this.#end();
    if (name === "table") this.#kind = "table";
    else if (name === "li" || name === "dt" || name === "dd") this.#kind = "item";
    else if (name === "pre") {
      this.#kind = "code";
      this.#preformatted += 1;
    } else if (name === "title" || HEADING.test(name)) {
      this.#kind = "heading";
      this.#level = name === "title" ? 1 : Number(name[1]);
    }
  }

  close(name: string): void {
    if (VOID.has(name)) return;
    if (this.#hidden > 0) {
      this.#hidden -= 1;
      return;
    }
    if (name === "pre") this.#preformatted = Math.max(0, this.#preformatted - 1);
    if (!BLOCKS.has(name)) return;
    const insideTable = name === "tr" || name === "tbody" || name === "thead" || name === "tfoot";
    if (this.#kind === "table" && insideTable) this.#newRow();
    else this.#end();
  }

  text(text: string): void {
    if (this.#hidden > 0) return;
    this.#block += this.#preformatted > 0 ? text : text.replace(/[\s\u00A0]+/g, " ");
    if (this.#block.length + this.#bytes > this.#maxTextBytes) this.#tooLong();
  }

  finish(): { text: string; blocks: Block[] } {
    this.#end();
    return { text: this.#parts.join(""), blocks: this.#blocks };
  }

  #newRow(): void {
    if (this.#block !== "" && !this.#block.endsWith("\n")) this.#block += "\n";
  }

  #end(): void {
    const text = this.#kind === "code" ? this.#block.replace(/^\n+|\s+$/g, "") : foldLines(this.#block);
    if (text !== "") {
      if (this.#length > 0) this.#add("\n\n");
      const start = this.#length;
      this.#add(text);
      this.#blocks.push({ kind: this.#kind, level: this.#level, start, end: this.#length });
    }
    this.#block = "";
    this.#kind = "paragraph";
    this.#level = 0;
  }

  #add(text: string): void {
    this.#parts.push(text);
    this.#length += text.length;
    this.#bytes += Buffer.byteLength(text);
    if (this.#bytes > this.#maxTextBytes) this.#tooLong();
  }

  #tooLong(): never {
    throw new DocumentRefused("size", `its text is longer than ${this.#maxTextBytes} bytes`);
  }
}

function foldLines(text: string): string {
  return text
    .split("\n")
    .map((line) => line.replace(/ +/g, " ").trim())
    .filter((line) => line !== "")
    .join("\n");
}

function isInvisible(attributes: Readonly<Record<string, string>>): boolean {
  if ("hidden" in attributes || attributes["aria-hidden"]?.toLowerCase() === "true") return true;
  const style = attributes.style;
  return (
    style !== undefined &&
    /(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d]))/i.test(
      style,
    )
  );
}

/** Byte order mark, then the media type's character set, then the page's own, then UTF-8. */
function decodePage(bytes: Uint8Array, charset: string | undefined): string {
  const label = markedCharset(bytes) ?? charset ?? metaCharset(bytes) ?? "utf-8";
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(label, { fatal: true });
  } catch {
    throw new DocumentRefused("encoding", `unknown character set ${JSON.stringify(label)}`);
  }
  try {
    return decoder.decode(bytes);
  } catch {
    throw new DocumentRefused("encoding", `its bytes are not valid ${decoder.encoding}`);
  }
}

function markedCharset(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return "utf-8";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  return undefined;
}

function metaCharset(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1024)).toString("latin1");
  return /<meta[^>]{0,200}charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})/i.exec(head)?.[1].toLowerCase();
}
