import type { Hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { ModelFormatError } from "./format-error.ts";
import type { ByteSource } from "./safetensors.ts";

/** A file that is read once, front to back, so that what is hashed and what is used are the same bytes. */
export class FileStream implements ByteSource {
  readonly path: string;
  readonly size: number;
  private readonly fd: number;
  private readonly hash: Hash | undefined;
  private position = 0;

  /**
   * @param hash takes every byte that is read
   * @throws ModelFormatError where it cannot be opened, is no file or larger than `maxBytes`
   */
  constructor(path: string, maxBytes: number, hash?: Hash) {
    this.path = path;
    this.hash = hash;
    this.fd = this.guarded(() => openSync(path, "r"));
    const stat = fstatSync(this.fd);
    this.size = stat.size;
    if (stat.isFile() && stat.size <= maxBytes) return;
    this.close();
    throw new ModelFormatError(path, stat.isFile() ? `${stat.size} bytes are more than ${maxBytes}` : "is not a file");
  }

  /** Bytes after those that were read. */
  get left(): number {
    return this.size - this.position;
  }

  /** The next `length` bytes, in memory of their own. `start` must be where they begin. */
  read(start: number, length: number): Uint8Array<ArrayBuffer> {
    if (start !== this.position) throw new Error(`Byte ${start} is asked for at byte ${this.position}.`);
    const bytes = new Uint8Array(length);
    this.fill(bytes);
    return bytes;
  }

  /** Reads the next bytes into `target`. @throws ModelFormatError */
  fill(target: Uint8Array<ArrayBuffer>): void {
    for (let done = 0; done < target.length; ) {
      const at = this.position + done;
      const most = Math.min(target.length - done, 1 << 30);
      const got = this.guarded(() => readSync(this.fd, target, done, most, at));
      if (got === 0) throw new ModelFormatError(this.path, `ends at byte ${at}`);
      done += got;
    }
    this.position += target.length;
    this.hash?.update(target);
  }

  close(): void {
    closeSync(this.fd);
  }

  private guarded<Result>(call: () => Result): Result {
    try {
      return call();
    } catch (error) {
      throw new ModelFormatError(this.path, "cannot be read", error);
    }
  }
}
