import { readFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { ThreadAdapterReader } from "../../../operator/engine/adapters/adapter-reader.ts";
import { adapterFolder, type ShapeName } from "../shapes.ts";
import { percentile, round3 } from "../timing.ts";
import { openBenchRunner, RANK } from "./bench-runner.ts";

interface LoadFigures {
  readonly megabytes: number;
  /** Milliseconds of the first load that a machine ever sees of an adapter, which also hashes it; median. */
  readonly firstP50: number;
  /** Milliseconds from asking for the folder (in the page cache) to rows being able to use the slot. */
  readonly p50: number;
  readonly p99: number;
  /** Its two parts, medians: the reading thread, and the copy into the slot, which is all that a step waits for. */
  readonly readP50: number;
  readonly slotP50: number;
  /** Processor time of a load, all threads, median: what the machine's other work does not change. */
  readonly cpuP50: number;
}

/** Time to load an adapter as the engine does: read and checked on the reading thread, copied into a slot. */
export async function benchAdapterLoad(shape: ShapeName, loads: number): Promise<LoadFigures> {
  const runner = await openBenchRunner({ shape, quantisation: "q4", rows: 1, length: 64, slots: 0 });
  const reader = new ThreadAdapterReader(runner.config);
  const folders = Array.from({ length: 8 }, (_, index) => adapterFolder(shape, index, { rank: RANK }));
  // The files are brought into the page cache, the thread is started.
  for (const folder of folders) readFileSync(join(folder, "adapter_model.safetensors"));
  runner.loadSlot(0, await reader.read(folders[0]));
  const first: number[] = [];
  for (const folder of folders.slice(1)) {
    const start = performance.now();
    runner.loadSlot(0, await reader.read(folder));
    first.push(performance.now() - start);
  }
  // Where memory is full, an adapter is read into that of the one which it pushes out.
  let spare: ArrayBuffer | undefined;
  const reads: number[] = [];
  const slots: number[] = [];
  const cpu: number[] = [];
  let bytes = 0;
  for (let i = 0; i < loads; i++) {
    const before = process.cpuUsage();
    const start = performance.now();
    const adapter = await reader.read(folders[i % folders.length], undefined, spare);
    const read = performance.now();
    runner.loadSlot(0, adapter);
    reads.push(read - start);
    slots.push(performance.now() - read);
    const { user, system } = process.cpuUsage(before);
    cpu.push((user + system) / 1000);
    bytes = adapter.bytes;
    spare = Object.values(adapter.layers[0])[0].a.buffer as ArrayBuffer;
  }
  await reader.close();
  await runner.close();
  const totals = reads.map((ms, i) => ms + slots[i]);
  return {
    megabytes: round3(bytes / 1e6),
    firstP50: round3(percentile(first, 0.5)),
    p50: round3(percentile(totals, 0.5)),
    p99: round3(percentile(totals, 0.99)),
    readP50: round3(percentile(reads, 0.5)),
    slotP50: round3(percentile(slots, 0.5)),
    cpuP50: round3(percentile(cpu, 0.5)),
  };
}
