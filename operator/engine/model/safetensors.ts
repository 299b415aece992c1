import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { bfloat16ToFloat32, firstNonFinite, float16ToFloat32 } from "./float-formats.ts";
import { ModelFormatError } from "./format-error.ts";
import { type JsonObject, parseJsonObject } from "./json-file.ts";

const BYTES: Record<string, number> = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
};
/** One header entry is about 100 bytes: far more tensors than any model has. */
const MAX_HEADER_BYTES = 32 << 20;

export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Byte range from the start of the file. */
  readonly start: number;
  readonly end: number;
}

/**
 * An open safetensors file whose header was checked: every range lies in the file, ranges neither overlap nor leave
 * holes, and each matches its dtype and shape.
 *
 * Layout: eight bytes little-endian length of the header, the header as JSON, the data
 * (https://github.com/huggingface/safetensors#format).
 */
export class SafetensorsFile {
  readonly path: string;
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  private readonly source: ByteSource;

  private constructor(path: string, source: ByteSource) {
    this.path = path;
    this.source = source;
    const header = this.readHeader(source.size);
    this.metadata = readMetadata(header.json);
    this.entries = readEntries(header.json, header.dataStart, source.size);
  }

  /** Opens a file and checks its header; tensors are read when asked for. @throws ModelFormatError */
  static open(path: string): SafetensorsFile {
    const source = openSource(path);
    try {
      return new SafetensorsFile(path, source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** Checks a header that comes from elsewhere; it is read front to back. @throws ModelFormatError */
  static over(path: string, source: ByteSource): SafetensorsFile {
    return new SafetensorsFile(path, source);
  }

  /**
   * Reads one tensor as float32; F16 and BF16 are converted.
   * @throws ModelFormatError if it is absent, of another shape or type, or has a value that is not finite.
   */
  readFloats(name: string, shape: readonly number[]): Float32Array {
    const entry = this.entry(name, shape);
    const values = toFloats(this.path, entry, this.source.read(entry.start, entry.end - entry.start));
    const bad = firstNonFinite(values);
    if (bad >= 0) throw new ModelFormatError(this.path, `tensor ${name} holds ${values[bad]} at element ${bad}`);
    return values;
  }

  /** Where a tensor lies. @throws ModelFormatError if it is absent or of another shape */
  entry(name: string, shape: readonly number[]): SafetensorsEntry {
    const entry = this.entries.get(name);
    if (!entry) throw new ModelFormatError(this.path, `tensor ${name} is missing`);
    if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i])) {
      throw new ModelFormatError(this.path, `tensor ${name} is [${entry.shape}], expected [${shape}]`);
    }
    return entry;
  }

  close(): void {
    this.source.close();
  }

  private readHeader(fileBytes: number): { json: JsonObject; dataStart: number } {
    if (fileBytes < 10) throw new ModelFormatError(this.path, `${fileBytes} bytes are no safetensors file`);
    const prefix = this.source.read(0, 8);
    const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
    if (length > BigInt(Math.min(MAX_HEADER_BYTES, fileBytes - 8))) {
      throw new ModelFormatError(this.path, `header of ${length} bytes in a file of ${fileBytes}`);
    }
    const json = parseJsonObject(this.source.read(8, Number(length)), this.path, {
      maxBytes: MAX_HEADER_BYTES,
      maxDepth: 3,
    });
    return { json, dataStart: 8 + Number(length) };
  }
}

/** Bytes of a file. */
export interface ByteSource {
  readonly size: number;
  /** @returns memory that the caller may keep */
  read(start: number, length: number): Uint8Array<ArrayBuffer>;
  close(): void;
}

/**
 * A tensor's bytes as float32: a view of them where they are float32 and aligned, else a copy.
 * @throws ModelFormatError if it is of another type
 */
export function toFloats(path: string, entry: SafetensorsEntry, bytes: Uint8Array<ArrayBuffer>): Float32Array {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  switch (entry.dtype) {
    case "F32":
      return new Float32Array(buffer, byteOffset, length / 4);
    case "BF16":
      return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, length / 2));
    case "F16":
      return float16ToFloat32(new Uint16Array(buffer, byteOffset, length / 2));
    default:
      throw new ModelFormatError(path, `tensor ${entry.name} is ${entry.dtype}; F32, F16 and BF16 are read`);
  }
}

function openSource(path: string): ByteSource {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw new ModelFormatError(path, "cannot be opened", error);
  }
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw new ModelFormatError(path, "is not a file");
  }
  const read = (start: number, length: number) => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const got = readSync(fd, bytes, done, Math.min(length - done, 1 << 30), start + done);
      if (got === 0) throw new ModelFormatError(path, `ends at byte ${start + done}`);
      done += got;
    }
    return bytes;
  };
  return { size: stat.size, read, close: () => closeSync(fd) };
}

function readMetadata(header: JsonObject): Record<string, string> {
  const metadata = header.object("__metadata__");
  if (!metadata) return {};
  return Object.fromEntries(Object.keys(metadata.members).map((key) => [key, metadata.string(key)]));
}

function readEntries(header: JsonObject, dataStart: number, fileBytes: number): Map<string, SafetensorsEntry> {
  const entries: SafetensorsEntry[] = [];
  for (const name of Object.keys(header.members)) {
    if (name === "__metadata__") continue;
    const json = header.object(name);
    if (!json) return header.fail(name, "must be an object");
    entries.push(readEntry(name, json, dataStart));
  }
  entries.sort((a, b) => a.start - b.start || a.end - b.end);
  let end = dataStart;
  for (const entry of entries) {
    // Also catches a name that stands twice: its first range is then a hole.
    if (entry.start !== end) {
      header.fail(entry.name, entry.start < end ? "overlaps the tensor before it" : "leaves a hole before it");
    }
    end = entry.end;
  }
  if (end !== fileBytes) {
    throw new ModelFormatError(header.path, `tensors end at byte ${end} of a file of ${fileBytes}`);
  }
  return new Map(entries.map((entry) => [entry.name, entry]));
}

function readEntry(name: string, json: JsonObject, dataStart: number): SafetensorsEntry {
  const dtype = json.string("dtype");
  if (!Object.hasOwn(BYTES, dtype)) json.fail("dtype", `${JSON.stringify(dtype)} is not known`);
  const shape = integers(json, "shape");
  const offsets = integers(json, "data_offsets");
  if (shape.length > 8) json.fail("shape", `has ${shape.length} dimensions`);
  if (offsets.length !== 2 || offsets[0] > offsets[1]) json.fail("data_offsets", "must be a start and an end");
  let bytes = BYTES[dtype];
  for (const size of shape) bytes *= size;
  if (bytes !== offsets[1] - offsets[0]) {
    json.fail("data_offsets", `span ${offsets[1] - offsets[0]} bytes, ${dtype}[${shape}] takes ${bytes}`);
  }
  return { name, dtype, shape, start: dataStart + offsets[0], end: dataStart + offsets[1] };
}

function integers(json: JsonObject, name: string): number[] {
  const value = json.get(name);
  if (!Array.isArray(value) || value.some((item) => !Number.isSafeInteger(item) || item < 0)) {
    return json.fail(name, "must list non-negative integers");
  }
  return value;
}
