/**
 * Turns places in a text (UTF-16 units) into places in its UTF-8 bytes. Asked in ascending order it walks the text
 * once; a place inside a surrogate pair counts as the pair's end.
 */
export class ByteOffsets {
  #text: string;
  #unit = 0;
  #byte: number;

  /** @param first Byte at which the text begins, 3 after a byte order mark that was dropped. */
  constructor(text: string, first = 0) {
    this.#text = text;
    this.#byte = first;
  }

  /** @throws {RangeError} When asked for a place before the last one asked for. */
  at(unit: number): number {
    if (unit < this.#unit) throw new RangeError("Byte offsets are asked for in ascending order");
    while (this.#unit < unit) {
      const code = this.#text.charCodeAt(this.#unit++);
      if (code < 0x80) this.#byte += 1;
      else if (code < 0x800) this.#byte += 2;
      else if (code >= 0xd800 && code < 0xdc00) {
        this.#byte += 4;
        this.#unit += 1;
      } else this.#byte += 3;
    }
    return this.#byte;
  }
}
