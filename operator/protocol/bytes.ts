import { MalformedBytes } from "./errors.ts";

/** Hexadecimal text with its prefix, as viem has it. */
export type Hex = `0x${string}`;

/** Thirty-two zero bytes: an absent subtree, an absent parent. Never written to. */
export const ZERO_HASH: Uint8Array = new Uint8Array(32);

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Values of hexadecimal digits by their character code. */
const DIGITS = new Uint8Array(128).fill(255);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  DIGITS[digit.charCodeAt(0)] = DIGITS[digit.toUpperCase().charCodeAt(0)] = value;
}

/** Lower-case hexadecimal form of some bytes. */
export function toHex(bytes: Uint8Array): Hex {
  let text = "0x";
  for (let i = 0; i < bytes.length; i++) text += HEX[bytes[i]];
  return text as Hex;
}

/**
 * Bytes of a hexadecimal text.
 *
 * @throws {MalformedBytes} When the prefix is missing, the length is odd or a digit is none.
 */
export function fromHex(text: string): Uint8Array {
  const malformed = () => new MalformedBytes("not hexadecimal with prefix 0x and whole bytes");
  if (text.length % 2 !== 0 || !text.startsWith("0x")) throw malformed();
  const bytes = new Uint8Array((text.length - 2) / 2);
  for (let i = 0; i < bytes.length; i++) {
    const [high, low] = [DIGITS[text.charCodeAt(2 * i + 2)], DIGITS[text.charCodeAt(2 * i + 3)]];
    // What is no digit is undefined beyond the table and 255 in it.
    if (!(high < 16 && low < 16)) throw malformed();
    bytes[i] = 16 * high + low;
  }
  return bytes;
}

/** Whether two byte strings are the same. Not in constant time: nothing here is secret. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether all bytes are zero. */
export function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Writes big-endian integers and byte strings into a buffer of known length. */
export class ByteWriter {
  readonly bytes: Uint8Array;
  #offset = 0;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
  }

  u8(value: number): this {
    return this.#small(value, 1);
  }

  u16(value: number): this {
    return this.#small(value, 2);
  }

  u24(value: number): this {
    return this.#small(value, 3);
  }

  u32(value: number): this {
    return this.#small(value, 4);
  }

  u40(value: number): this {
    return this.#small(value, 5);
  }

  u64(value: bigint): this {
    return this.#large(value, 8);
  }

  u96(value: bigint): this {
    return this.#large(value, 12);
  }

  u128(value: bigint): this {
    return this.#large(value, 16);
  }

  u256(value: bigint): this {
    return this.#large(value, 32);
  }

  /** Copies bytes; `length`, when given, is what they must have. */
  raw(value: Uint8Array, length: number = value.length): this {
    if (value.length !== length) throw new MalformedBytes(`expected ${length} bytes, got ${value.length}`);
    this.bytes.set(value, this.#offset);
    this.#offset += length;
    return this;
  }

  /**
   * The bytes, once all have been written.
   *
   * @throws {MalformedBytes} When fewer were written than the length promised.
   */
  finish(): Uint8Array {
    if (this.#offset !== this.bytes.length) {
      throw new MalformedBytes(`wrote ${this.#offset} of ${this.bytes.length} bytes`);
    }
    return this.bytes;
  }

  #small(value: number, width: number): this {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * width)) {
      throw new MalformedBytes(`${value} is not an unsigned integer of ${8 * width} bits`);
    }
    let rest = value;
    for (let i = this.#offset + width - 1; i >= this.#offset; i--) {
      this.bytes[i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    this.#offset += width;
    return this;
  }

  #large(value: bigint, width: number): this {
    if (value < 0n || value >> BigInt(8 * width) !== 0n) {
      throw new MalformedBytes(`${value} is not an unsigned integer of ${8 * width} bits`);
    }
    // By 32 bits: a view of the buffer would cost more than all the numbers of a voucher.
    let rest = value;
    for (let end = this.#offset + width; end > this.#offset; end -= 4) {
      let word = Number(rest & 0xffffffffn);
      for (let i = end - 1; i >= end - 4; i--) {
        this.bytes[i] = word;
        word >>>= 8;
      }
      rest >>= 32n;
    }
    this.#offset += width;
    return this;
  }
}

/**
 * Reads big-endian integers and byte strings, refusing to read past the end.
 *
 * Every method throws {@link MalformedBytes} when the bytes end too early.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#bytes[this.#take(1)];
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u24(): number {
    const at = this.#take(3);
    return this.#view.getUint16(at) * 256 + this.#bytes[at + 2];
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  u40(): number {
    const at = this.#take(5);
    return this.#view.getUint32(at) * 256 + this.#bytes[at + 4];
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }

  u96(): bigint {
    const at = this.#take(12);
    return (BigInt(this.#view.getUint32(at)) << 64n) | this.#view.getBigUint64(at + 4);
  }

  u128(): bigint {
    const at = this.#take(16);
    return (this.#view.getBigUint64(at) << 64n) | this.#view.getBigUint64(at + 8);
  }

  u256(): bigint {
    return (this.u128() << 128n) | this.u128();
  }

  /** A copy of the next bytes. */
  raw(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  /** @throws {MalformedBytes} When bytes are left over. */
  end(): void {
    if (this.left !== 0) throw new MalformedBytes(`${this.left} bytes too many`);
  }

  #take(length: number): number {
    if (this.left < length) throw new MalformedBytes(`${length - this.left} bytes too few`);
    const at = this.#offset;
    this.#offset += length;
    return at;
  }
}
