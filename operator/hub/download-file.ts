import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { HubError } from "./hub-error.ts";
import { type HubRequests, interrupted, unreachable, waitBeforeTrying } from "./hub-requests.ts";
import type { HubSettings } from "./hub-settings.ts";
import type { HubFile } from "./listing.ts";

/** Connections that may fail one after the other without a byte between them. */
const FAILURES = 5;
const PIECE = 1 << 20;

export interface FileDownload {
  readonly settings: HubSettings;
  readonly requests: HubRequests;
  /** Says how many more bytes came; negative where some that were here have to come again. */
  readonly onBytes: (count: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Gets a file, going on where an earlier call has stopped. It has its name only when all of it is there, is what the hub
 * says it is, and has reached the disk; until then it is `path` and `.part`.
 *
 * @param url Where the hub has it; the answer may redirect.
 * @throws {HubError}
 */
export async function downloadFile(url: string, file: HubFile, path: string, download: FileDownload): Promise<void> {
  const part = await Part.open(`${path}.part`, file, download);
  try {
    // What was here before this call may have been damaged since: that is no fault of the hub's, and costs one more try.
    let isOwn = part.bytes === 0;
    for (let failures = 0; ; ) {
      const before = part.bytes;
      try {
        if (part.bytes < file.size) await receive(url, part, download);
        if (part.isRight()) break;
        await part.restart();
        if (isOwn) throw damaged(url, file);
        isOwn = true;
      } catch (error) {
        if (!(error instanceof HubError) || error.code !== "unavailable") throw error;
        failures = part.bytes > before ? 1 : failures + 1;
        if (failures === FAILURES) throw error;
        await waitBeforeTrying(failures, download.settings, download.signal);
      }
    }
    await part.sync();
  } finally {
    await part.close();
  }
  await rename(`${path}.part`, path);
}

/** Takes what comes of one connection. @throws {HubError} `unavailable` where it ends too early. */
async function receive(url: string, part: Part, { settings, requests, signal }: FileDownload): Promise<void> {
  const idle = new AbortController();
  const timer = setTimeout(() => idle.abort(new Error(`no byte came for ${settings.idleMs} ms`)), settings.idleMs);
  const until = AbortSignal.any([idle.signal, ...(signal ? [signal] : [])]);
  try {
    const response = await requests.open(url, part.bytes, until);
    // A server without ranges begins at the beginning.
    if (part.bytes > 0 && response.status !== 206) await part.restart();
    checkPlace(url, response, part);
    for await (const piece of response.body ?? []) {
      timer.refresh();
      await part.append(piece);
    }
  } catch (error) {
    if (error instanceof HubError) throw error;
    if (isDiskError(error)) {
      throw new HubError("too_large", `${part.path} cannot be written: ${(error as Error).message}`, error);
    }
    throw interrupted(signal) ?? unreachable(settings, error);
  } finally {
    clearTimeout(timer);
    // Nothing more is wanted of a connection that was given up.
    idle.abort();
  }
  if (part.bytes < part.file.size) {
    const missing = part.file.size - part.bytes;
    throw new HubError(
      "unavailable",
      `${settings.endpoint} stopped ${missing} bytes before the end of ${part.file.name}.`,
    );
  }
}

/** A wrong place or length shows before a byte is taken. */
function checkPlace(url: string, { headers }: Response, part: Part): void {
  const range = headers.get("content-range");
  if (part.bytes > 0 && !range?.startsWith(`bytes ${part.bytes}-`)) {
    throw new HubError("damaged", `${url} was asked from byte ${part.bytes} on and gives ${range}.`);
  }
  const announced = headers.get("content-length");
  if (announced === null || headers.has("content-encoding")) return;
  const wanted = part.file.size - part.bytes;
  if (Number(announced) === wanted) return;
  throw new HubError("damaged", `${url} announces ${announced} bytes; the hub's list says ${wanted}.`);
}

function damaged(url: string, { hash }: HubFile): HubError {
  const kind = hash.kind === "sha256" ? "SHA-256" : "git hash";
  return new HubError(
    "damaged",
    `${url} is not what the hub's list says (${kind} ${hash.hex}). Nothing of it is kept.`,
  );
}

function isDiskError(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EROFS", "EIO"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** The beginning of a file, with its hash so far. */
class Part {
  readonly path: string;
  readonly file: HubFile;
  private readonly handle: FileHandle;
  private readonly onBytes: (count: number) => void;
  private hash: Hash;
  private have = 0;

  private constructor(path: string, file: HubFile, handle: FileHandle, onBytes: (count: number) => void) {
    this.path = path;
    this.file = file;
    this.handle = handle;
    this.onBytes = onBytes;
    this.hash = begin(file);
  }

  /** Bytes that are here. */
  get bytes(): number {
    return this.have;
  }

  static async open(path: string, file: HubFile, { onBytes, signal }: FileDownload): Promise<Part> {
    const { O_RDWR, O_CREAT, O_NOFOLLOW = 0 } = constants;
    const part = new Part(path, file, await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o644), onBytes);
    try {
      await part.readWhatIsHere(signal);
      return part;
    } catch (error) {
      await part.close();
      throw error;
    }
  }

  /** @throws {HubError} `damaged` on more than the file has. */
  async append(piece: Uint8Array): Promise<void> {
    if (this.have + piece.length > this.file.size) {
      throw new HubError(
        "damaged",
        `${this.file.name} goes on after the ${this.file.size} bytes that the hub's list says.`,
      );
    }
    for (let done = 0; done < piece.length; ) {
      done += (await this.handle.write(piece, done, piece.length - done, this.have + done)).bytesWritten;
    }
    this.count(piece);
    this.onBytes(piece.length);
  }

  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.onBytes(-this.have);
    this.have = 0;
    this.hash = begin(this.file);
  }

  isRight(): boolean {
    return this.hash.copy().digest("hex") === this.file.hash.hex;
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  private async readWhatIsHere(signal: AbortSignal | undefined): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.size) return this.restart();
    const piece = new Uint8Array(PIECE);
    for (;;) {
      const stopped = interrupted(signal);
      if (stopped) throw stopped;
      const { bytesRead } = await this.handle.read(piece, 0, PIECE, this.have);
      if (bytesRead === 0) return;
      this.count(piece.subarray(0, bytesRead));
    }
  }

  private count(piece: Uint8Array): void {
    this.hash.update(piece);
    this.have += piece.length;
  }
}

function begin({ size, hash }: HubFile): Hash {
  return hash.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
