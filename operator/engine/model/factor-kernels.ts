import { type Code, signed, unsigned, type WasmFunction, wasmModule } from "./wasm-writer.ts";

/**
 * The two passes over an adapter's factors, four floats at a time. V8 gives plain JavaScript no vector instructions:
 * there they take five times as long.
 */
export interface FactorKernels {
  readonly memory: WebAssembly.Memory;
  /**
   * Sum of squares of `count` floats at byte `at`, in float32. A sum of squares bounds every magnitude without a
   * comparison each: it is never smaller than the largest of them, and NaN and infinities stay in it.
   * @param count multiple of 16
   */
  energy(at: number, count: number): number;
  /**
   * Writes `[rows, columns]` at byte `from` as `[columns, rows]` times `scale` (product in float64, rounded once) to
   * byte `to`. Rows and columns are multiples of four.
   * @returns sum of squares of what was written, as {@link energy}
   */
  transpose(from: number, to: number, rows: number, columns: number, scale: number): number;
}

/** Kernels over a memory of their own, one page of 64 KiB at first. */
export function factorKernels(): FactorKernels {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const module = new WebAssembly.Module(wasmModule([ENERGY, TRANSPOSE]));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { memory, ...(exports as unknown as Omit<FactorKernels, "memory">) };
}

const get = (local: number): Code => [0x20, ...unsigned(local)];
const set = (local: number): Code => [0x21, ...unsigned(local)];
const tee = (local: number): Code => [0x22, ...unsigned(local)];
const i32 = (value: number): Code => [0x41, ...signed(value)];
const ADD: Code = [0x6a];
const TIMES: Code = [0x6c];
const LESS: Code = [0x49];
const vector = (code: number, ...immediates: number[]): Code => [0xfd, ...unsigned(code), ...immediates];
/** Alignment hint 0: tensors of a file need not lie at multiples of 16. */
const load = (offset = 0): Code => vector(0x00, 0, ...unsigned(offset));
const STORE = vector(0x0b, 0, 0);
const ADD4 = vector(0xe4);
const TIMES4 = vector(0xe6);
const SPLAT_DOUBLE = vector(0x14);
const WIDEN = vector(0x5f);
const NARROW = vector(0x5e);
const TIMES2 = vector(0xf2);
const lane = (index: number): Code => vector(0x1f, index);
const ADD_FLOAT: Code = [0x92];
/** Four floats of two vectors, numbered 0 to 3 and 4 to 7. */
const pick = (...lanes: number[]): Code =>
  vector(0x0d, ...lanes.flatMap((index) => [4 * index, 4 * index + 1, 4 * index + 2, 4 * index + 3]));

/** Repeats `body` while `from < to` (addresses), at least once. */
const loop = (from: number, to: number, body: Code): Code => [
  ...[0x03, 0x40, ...body],
  ...[...get(from), ...get(to), ...LESS, 0x0d, 0x00, 0x0b],
];

/** Adds up the lanes of one vector. */
const total = (local: number): Code => [
  ...[...get(local), ...lane(0), ...get(local), ...lane(1), ...ADD_FLOAT],
  ...[...get(local), ...lane(2), ...get(local), ...lane(3), ...ADD_FLOAT, ...ADD_FLOAT],
];

const addSquare = (sum: number, value: Code, keep: number): Code => [
  ...[...get(sum), ...value, ...tee(keep), ...get(keep), ...TIMES4, ...ADD4, ...set(sum)],
];

const advance = (local: number, by: Code): Code => [...get(local), ...by, ...ADD, ...set(local)];

const ENERGY: WasmFunction = (() => {
  const [at, count, end, value] = [0, 1, 2, 3];
  const sums = [4, 5, 6, 7];
  return {
    name: "energy",
    parameters: ["i32", "i32"],
    result: "f32",
    locals: ["i32", "v128", "v128", "v128", "v128", "v128"],
    body: [
      ...[...get(at), ...get(count), ...i32(4), ...TIMES, ...ADD, ...set(end)],
      ...loop(at, end, [
        ...sums.flatMap((sum, i) => addSquare(sum, [...get(at), ...load(16 * i)], value)),
        ...advance(at, i32(64)),
      ]),
      ...[...get(sums[0]), ...get(sums[1]), ...ADD4, ...get(sums[2]), ...get(sums[3]), ...ADD4, ...ADD4],
      ...[...set(value), ...total(value)],
    ],
  };
})();

const TRANSPOSE: WasmFunction = (() => {
  const [from, to, rows, columns, scale] = [0, 1, 2, 3, 4];
  const [pitchIn, pitchOut, rowEnd, columnEnd, source, target, line] = [5, 6, 7, 8, 9, 10, 11];
  const [factor, raw, value0, value1, value2, value3] = [12, 13, 14, 15, 16, 17];
  const values = [value0, value1, value2, value3];
  const sums = [18, 19, 20, 21];
  const [pair0, pair1, pair2, pair3] = [22, 23, 24, 25];
  const scaled: Code = [
    ...[...set(raw), ...get(raw), ...WIDEN, ...get(factor), ...TIMES2, ...NARROW],
    ...[...get(raw), ...get(raw), ...pick(2, 3, 2, 3), ...WIDEN, ...get(factor), ...TIMES2, ...NARROW],
    ...pick(0, 1, 4, 5),
  ];
  const store = (a: number, b: number, lanes: readonly number[]): Code => [
    ...[...get(line), ...get(a), ...get(b), ...pick(...lanes), ...STORE],
    ...advance(line, get(pitchOut)),
  ];
  const combine = (a: number, b: number, lanes: readonly number[], result: number): Code => [
    ...[...get(a), ...get(b), ...pick(...lanes), ...set(result)],
  ];
  return {
    name: "transpose",
    parameters: ["i32", "i32", "i32", "i32", "f64"],
    result: "f32",
    locals: [...new Array<"i32">(7).fill("i32"), ...new Array<"v128">(14).fill("v128")],
    body: [
      ...[...get(columns), ...i32(4), ...TIMES, ...set(pitchIn), ...get(rows), ...i32(4), ...TIMES, ...set(pitchOut)],
      ...[...get(scale), ...SPLAT_DOUBLE, ...set(factor)],
      ...[...get(from), ...get(rows), ...get(pitchIn), ...TIMES, ...ADD, ...set(rowEnd)],
      ...loop(from, rowEnd, [
        ...[...get(from), ...set(source), ...get(from), ...get(pitchIn), ...ADD, ...set(columnEnd)],
        ...[...get(to), ...set(target)],
        ...loop(source, columnEnd, [
          ...[...get(source), ...set(line)],
          ...values.flatMap((value, i) => [
            ...addSquare(sums[i], [...get(line), ...load(), ...scaled], value),
            ...advance(line, get(pitchIn)),
          ]),
          ...combine(value0, value1, [0, 4, 1, 5], pair0),
          ...combine(value0, value1, [2, 6, 3, 7], pair1),
          ...combine(value2, value3, [0, 4, 1, 5], pair2),
          ...combine(value2, value3, [2, 6, 3, 7], pair3),
          ...[...get(target), ...set(line)],
          ...store(pair0, pair2, [0, 1, 4, 5]),
          ...store(pair0, pair2, [2, 3, 6, 7]),
          ...store(pair1, pair3, [0, 1, 4, 5]),
          ...store(pair1, pair3, [2, 3, 6, 7]),
          ...[...get(line), ...set(target), ...advance(source, i32(16))],
        ]),
        ...advance(from, [...get(pitchIn), ...i32(4), ...TIMES]),
        ...advance(to, i32(16)),
      ]),
      ...[...get(sums[0]), ...get(sums[1]), ...ADD4, ...get(sums[2]), ...get(sums[3]), ...ADD4, ...ADD4],
      ...[...set(raw), ...total(raw)],
    ],
  };
})();
