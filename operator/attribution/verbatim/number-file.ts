import { closeSync, openSync, readSync } from "node:fs";

const PAGE_NUMBERS = 4_096;
const PAGES = 1_024;

/** A file of 32-bit numbers, read in pages of 16 KB of which the 1,024 last used stay in memory. */
export class NumberFile {
  readonly #file: number;
  readonly #pages = new Map<number, Uint32Array>();

  constructor(path: string) {
    this.#file = openSync(path, "r");
  }

  at(position: number): number {
    return this.#page(Math.floor(position / PAGE_NUMBERS))[position % PAGE_NUMBERS];
  }

  close(): void {
    closeSync(this.#file);
  }

  #page(number: number): Uint32Array {
    let page = this.#pages.get(number);
    if (page) {
      // Moved to the end: a map keeps the order of insertion, so the first is the one longest unused.
      this.#pages.delete(number);
    } else {
      page = new Uint32Array(PAGE_NUMBERS);
      readSync(this.#file, new Uint8Array(page.buffer), 0, PAGE_NUMBERS * 4, number * PAGE_NUMBERS * 4);
      if (this.#pages.size >= PAGES) this.#pages.delete(this.#pages.keys().next().value!);
    }
    this.#pages.set(number, page);
    return page;
  }
}
