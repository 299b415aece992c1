import { availableParallelism } from "node:os";
import koffi, { type KoffiFunc } from "koffi";

const LIBRARIES: Readonly<Record<string, string>> = {
  linux: "libc.so.6",
  darwin: "/usr/lib/libSystem.B.dylib",
  win32: "msvcrt.dll",
};

/**
 * Reads memory with all cores at once: each looks with the C library's `memchr` for a byte that is not there in a part
 * of its own. The parts together should be as large as what the reading is compared with, so that caches help both or
 * neither.
 */
export class MemoryReader {
  readonly bytes: number;
  private readonly parts: Buffer[];
  private readonly memchr: KoffiFunc<(memory: Buffer, byte: number, length: number) => unknown>;

  constructor(bytes: number) {
    const cores = availableParallelism();
    const library = koffi.load(LIBRARIES[process.platform] ?? "libc.so");
    this.memchr = library.func("void *memchr(const void *memory, int byte, size_t length)");
    // Written once, so that every page exists; the allocation alone would map one page of zeros everywhere.
    this.parts = Array.from({ length: cores }, () => Buffer.allocUnsafeSlow(Math.floor(bytes / cores)).fill(1));
    this.bytes = this.parts.length * this.parts[0].length;
  }

  /** Reads everything once. */
  async pass(): Promise<void> {
    await Promise.all(this.parts.map((part) => this.readPart(part)));
  }

  private readPart(part: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.memchr.async(part, 0, part.length, (error: Error | null) => (error ? reject(error) : resolve()));
    });
  }
}
