import { createHash, randomBytes } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createKeccak } from "hash-wasm";
import type { Hex } from "../protocol/bytes.ts";
import { ContentError } from "./content/content-error.ts";
import { type FolderFile, LIST_NAME, MAX_LIST_BYTES, readList } from "./content/content-folder.ts";
import { addressesOf, insideOf, openSource, type SourceSettings } from "./content/sources.ts";

export interface ContentSettings extends SourceSettings {
  /** Where verified content is kept, by hash. */
  cache: string;
  /** Bytes of one content at most, of a folder in all. Default 1 GiB. */
  maxBytes?: number;
  /** Milliseconds that one address may take. Default 10 minutes. */
  timeout?: number;
  /** Milliseconds without a byte after which an address is given up. Default 30 seconds. */
  idleTimeout?: number;
}

interface FetchOptions {
  /** Below the setting. */
  maxBytes?: number;
  signal?: AbortSignal;
}

/** Takes in bytes and says their hash. */
interface Hasher {
  update(bytes: Uint8Array): unknown;
  digest(): string;
}

const ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"] as const;
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * Gets what is registered, by its hash. A URI only says where to look: what comes is hashed on its way to the disk and
 * takes its place there only when it is what was registered.
 */
export class ContentFetcher {
  readonly #settings: ContentSettings;

  constructor(settings: ContentSettings) {
    this.#settings = settings;
    mkdirSync(settings.cache, { recursive: true });
  }

  /**
   * A single file: a prompt's template, a tool's manifest, the published data of a batch.
   *
   * @param hash Keccak-256 of the bytes.
   * @param uris Where it may be, in order of preference.
   * @returns Path of the verified file.
   * @throws {ContentError} The last address's reason when none of them gave it.
   */
  file(hash: Hex, uris: readonly string[], options: FetchOptions = {}): Promise<string> {
    return this.#place(hash.slice(2), uris, async (uri, at) => {
      await this.#download(uri, at, options, await keccakOf(hash));
    });
  }

  /** As {@link file}, and reads it. */
  async bytes(hash: Hex, uris: readonly string[], options: FetchOptions = {}): Promise<Uint8Array> {
    return readFileSync(await this.file(hash, uris, options));
  }

  /**
   * A folder of documents: a data contribution.
   *
   * @param root See `folderRoot`.
   * @returns Path of the folder and what is in it.
   */
  async folder(
    root: Hex,
    uris: readonly string[],
    options: FetchOptions = {},
  ): Promise<{ path: string; files: readonly FolderFile[] }> {
    const path = await this.#place(root.slice(2), uris, async (uri, at) => {
      mkdirSync(at);
      const listPath = join(at, LIST_NAME);
      await this.#download(insideOf(uri, LIST_NAME), listPath, { ...options, maxBytes: MAX_LIST_BYTES });
      const files = readList(readFileSync(listPath, "utf8"), root);
      let left = this.#limit(options);
      for (const { path, hash, bytes } of files) {
        if (bytes > left) throw new ContentError("too_large", `${root} holds more than ${this.#limit(options)} bytes`);
        left -= bytes;
        const file = join(at, "files", path);
        mkdirSync(dirname(file), { recursive: true });
        await this.#download(insideOf(uri, path), file, { ...options, maxBytes: bytes }, await keccakOf(hash));
      }
    });
    return { path: join(path, "files"), files: readList(readFileSync(join(path, LIST_NAME), "utf8"), root) };
  }

  /**
   * An adapter's folder in PEFT's form, as the engine takes it.
   *
   * @param hash SHA-256 over the configuration's length, the configuration and the weights (`adapterHash`).
   * @returns Path of the folder.
   */
  adapter(hash: Hex, uris: readonly string[], options: FetchOptions = {}): Promise<string> {
    return this.#place(hash.slice(2), uris, async (uri, at) => {
      mkdirSync(at);
      const [config, weights] = ADAPTER_FILES.map((name) => join(at, name));
      await this.#download(insideOf(uri, ADAPTER_FILES[0]), config, { ...options, maxBytes: MAX_CONFIG_BYTES });
      const configBytes = readFileSync(config);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(configBytes.length));
      const sha = createHash("sha256").update(length).update(configBytes);
      const verifier = { update: (bytes: Uint8Array) => sha.update(bytes), digest: () => `0x${sha.digest("hex")}` };
      await this.#download(insideOf(uri, ADAPTER_FILES[1]), weights, options, { hasher: verifier, expected: hash });
    });
  }

  /** Gets something into the cache unless it is there, trying address by address. */
  async #place(name: string, uris: readonly string[], get: (uri: string, at: string) => Promise<void>) {
    if (!/^[0-9a-f]{64}$/i.test(name)) throw new ContentError("refused", `0x${name} is no hash`);
    const place = join(this.#settings.cache, name.toLowerCase());
    if (existsSync(place)) return place;
    let reason = new ContentError("unavailable", `Nobody says where 0x${name} is`);
    for (const address of uris.flatMap((uri) => addressesOf(uri, this.#settings))) {
      // Two that fetch the same do not meet; the first that is done wins.
      const at = `${place}.${randomBytes(6).toString("hex")}.part`;
      try {
        await get(address, at);
        if (!existsSync(place)) renameSync(at, place);
        return place;
      } catch (error) {
        if (existsSync(place)) return place;
        if (!(error instanceof ContentError)) throw error;
        reason = error;
      } finally {
        rmSync(at, { recursive: true, force: true });
      }
    }
    throw reason;
  }

  async #download(
    address: string,
    path: string,
    options: FetchOptions,
    verify?: { hasher: Hasher; expected: Hex },
  ): Promise<void> {
    const { timeout = 600_000, idleTimeout = 30_000 } = this.#settings;
    const limit = this.#limit(options);
    const idle = new AbortController();
    const timer = setTimeout(() => idle.abort(new Error(`no byte came for ${idleTimeout} ms`)), idleTimeout);
    const signals = [AbortSignal.timeout(timeout), idle.signal, ...(options.signal ? [options.signal] : [])];
    const signal = AbortSignal.any(signals);
    let received = 0;
    const check = new Transform({
      transform(chunk: Uint8Array, _encoding, done) {
        timer.refresh();
        received += chunk.length;
        if (received > limit) return done(tooLarge(address, limit));
        verify?.hasher.update(chunk);
        done(null, chunk);
      },
      flush(done) {
        const found = verify?.hasher.digest();
        if (found === verify?.expected.toLowerCase()) return done();
        done(new ContentError("wrong_hash", `${address} gives ${found}, but ${verify?.expected} is registered`));
      },
    });
    try {
      const { bytes, announced } = await openSource(address, this.#settings, signal);
      if (announced !== undefined && announced > limit) {
        bytes.destroy();
        throw tooLarge(address, limit);
      }
      await pipeline(bytes, check, createWriteStream(path, { flags: "wx", flush: true }), { signal });
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof ContentError && !signal.aborted) throw error;
      if (isOwnDiskError(error)) throw error;
      const why = signal.aborted ? signal.reason : error;
      throw new ContentError("unavailable", `${address} cannot be read: ${(why as Error).message}`, error);
    } finally {
      clearTimeout(timer);
    }
  }

  #limit({ maxBytes = Number.POSITIVE_INFINITY }: FetchOptions): number {
    return Math.min(maxBytes, this.#settings.maxBytes ?? 1 << 30);
  }
}

async function keccakOf(expected: Hex): Promise<{ hasher: Hasher; expected: Hex }> {
  const keccak = await createKeccak(256);
  keccak.init();
  return {
    hasher: { update: (bytes) => keccak.update(bytes), digest: () => `0x${keccak.digest("hex")}` },
    expected,
  };
}

function tooLarge(address: string, limit: number): ContentError {
  return new ContentError("too_large", `${address} holds more than ${limit} bytes`);
}

/** A full disk is not the address's fault, and no other address helps. */
function isOwnDiskError(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE"].includes(code);
}
