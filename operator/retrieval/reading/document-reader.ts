import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Block } from "../chunking/block.ts";
import { scanMarkdown, scanPlainText, scanRecords } from "../chunking/scan-lines.ts";
import { declaredCharset, documentFormat } from "./document-format.ts";
import { DocumentRefused, type RefusalCode } from "./document-refused.ts";
import type { ExtractionReply, ExtractionRequest } from "./extraction-messages.ts";
import { decodeUtf8 } from "./read-text.ts";
import type { ReadingLimits } from "./reading-limits.ts";

/** The text of a document and what byte ranges in it mean. */
export interface ReadDocument {
  readonly text: string;
  readonly blocks: readonly Block[];
  /**
   * `source`: byte ranges point into the document as contributed. `extracted`: into the UTF-8 bytes of the text that
   * was extracted from it (HTML, PDF).
   */
  readonly rangeOver: "source" | "extracted";
  /** Bytes that ranges are over. */
  readonly bytes: Uint8Array;
  /** Byte at which `text` begins in `bytes`: 3 after a byte order mark, else 0. */
  readonly first: number;
}

const ENTRY = fileURLToPath(new URL("extraction-process.ts", import.meta.url));
/** All that the child process may read: this code and the folder of packages, which may be a link to elsewhere. */
const READABLE = [
  fileURLToPath(new URL("../../", import.meta.url)),
  fileURLToPath(new URL("../../../package.json", import.meta.url)),
  fileURLToPath(new URL("../../../node_modules", import.meta.url)),
  fileURLToPath(import.meta.resolve("unpdf")).replace(/(.*[/\\]node_modules[/\\]).*/s, "$1"),
];

/**
 * Reads documents one after another. Text, Markdown and JSONL are read here; HTML and PDF in a child process without
 * environment and without access to other files than the code, which is killed when a document takes too long or too much memory and
 * started again for the next.
 *
 * @example
 * const reader = new DocumentReader(DEFAULT_READING_LIMITS);
 * const { text } = await reader.read({ path: "a.md", bytes });
 * reader.close();
 */
export class DocumentReader {
  readonly #limits: ReadingLimits;
  #child: ChildProcess | undefined;

  constructor(limits: ReadingLimits) {
    this.#limits = limits;
  }

  /** @throws {DocumentRefused} When this document cannot be indexed; the reader stays usable. */
  async read(document: { path: string; mediaType?: string; bytes: Uint8Array }): Promise<ReadDocument> {
    const { path, mediaType, bytes } = document;
    const { maxDocumentBytes, maxTextBytes } = this.#limits;
    if (bytes.length > maxDocumentBytes) {
      throw new DocumentRefused("size", `it has ${bytes.length} bytes, more than ${maxDocumentBytes}`);
    }
    const format = documentFormat(path, mediaType);
    if (format === undefined) {
      const named = mediaType === undefined ? "no media type" : `media type ${JSON.stringify(mediaType.slice(0, 80))}`;
      throw new DocumentRefused("format", `neither its name nor its type is one that can be read (${named})`);
    }
    if (format === "html" || format === "pdf") {
      const charset = declaredCharset(mediaType);
      const reply = await this.#extract({ format, bytes, limits: this.#limits, ...(charset && { charset }) });
      if ("refused" in reply) throw new DocumentRefused(reply.refused, reply.reason);
      if (reply.text === "") throw new DocumentRefused("empty", "no text was found in it");
      return { ...reply, rangeOver: "extracted", bytes: Buffer.from(reply.text), first: 0 };
    }
    if (bytes.length > maxTextBytes) {
      throw new DocumentRefused("size", `its text is longer than ${maxTextBytes} bytes`);
    }
    const { text, first } = decodeUtf8(bytes);
    const scan = format === "markdown" ? scanMarkdown : format === "records" ? scanRecords : scanPlainText;
    const blocks = scan(text);
    if (blocks.length === 0) throw new DocumentRefused("empty", "there is no text in it");
    return { text, blocks, rangeOver: "source", bytes, first };
  }

  /** Ends the child process, if one is running. */
  close(): void {
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
  }

  #extract(request: ExtractionRequest): Promise<ExtractionReply> {
    const { maxMilliseconds, maxMemoryBytes } = this.#limits;
    if (this.#child?.connected === false) this.#child = undefined;
    const child = (this.#child ??= this.#start());
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        child.off("message", answered).off("error", failed).off("exit", ended);
      };
      const refuse = (code: RefusalCode, reason: string) => {
        end();
        this.close();
        reject(new DocumentRefused(code, reason));
      };
      const answered = (reply: unknown) => {
        end();
        resolve(reply as ExtractionReply);
      };
      const failed = (error: Error) => refuse("broken", `it could not be read: ${error.message}`);
      const ended = (_code: number | null, signal: NodeJS.Signals | null) => {
        // SIGTERM: the process's own watch over its memory. SIGABRT: V8's limit on its heap.
        const memory = signal === "SIGTERM" || signal === "SIGABRT";
        const megabytes = Math.round(maxMemoryBytes / 1024 ** 2);
        if (memory) refuse("memory", `reading it took more than ${megabytes} MB of memory`);
        else refuse("broken", "the process that read it ended without an answer");
      };
      const timer = setTimeout(() => {
        refuse("time", `reading it took longer than ${maxMilliseconds / 1000} s`);
      }, maxMilliseconds);
      child.on("message", answered).on("error", failed).on("exit", ended);
      child.send(request);
    });
  }

  #start(): ChildProcess {
    const heap = Math.max(64, Math.floor((this.#limits.maxMemoryBytes / 1024 ** 2) * 0.8));
    return fork(ENTRY, [String(this.#limits.maxMemoryBytes)], {
      env: {},
      serialization: "advanced",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      execArgv: [
        `--max-old-space-size=${heap}`,
        "--disable-warning=ExperimentalWarning",
        "--permission",
        ...READABLE.map((path) => `--allow-fs-read=${path}`),
        "--allow-worker",
      ],
    });
  }
}
