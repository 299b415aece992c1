import { existsSync } from "node:fs";
import { SafetensorsFile } from "../engine/model/safetensors.ts";
import { writeSafetensors } from "../engine/model/safetensors-writer.ts";

/** State of a training run between two steps. */
export interface TrainingState {
  /** Steps done. */
  step: number;
  readonly values: Float32Array;
  readonly mean: Float32Array;
  readonly square: Float32Array;
}

/**
 * Writes a checkpoint, atomically: a run that is killed at any moment leaves the old file or the whole new one.
 *
 * @param run fingerprint of everything that decides the numbers (data, settings, model): a checkpoint of another run
 *   must not be continued.
 */
export function saveCheckpoint(path: string, run: string, state: TrainingState): void {
  const { step, values, mean, square } = state;
  const shape = [values.length];
  writeSafetensors(
    path,
    [
      { name: "values", shape, data: values },
      { name: "mean", shape, data: mean },
      { name: "square", shape, data: square },
    ],
    { run, step: String(step) },
  );
}

/**
 * Reads a checkpoint into `state`.
 *
 * @returns false if there is none.
 * @throws if the file belongs to another run or is broken.
 */
export function loadCheckpoint(path: string, run: string, state: TrainingState): boolean {
  if (!existsSync(path)) return false;
  const file = SafetensorsFile.open(path);
  try {
    if (file.metadata.run !== run) {
      throw new Error(`${path} is a checkpoint of a run with other data or settings. Remove it to start afresh.`);
    }
    const shape = [state.values.length];
    state.values.set(file.readFloats("values", shape));
    state.mean.set(file.readFloats("mean", shape));
    state.square.set(file.readFloats("square", shape));
    state.step = Number(file.metadata.step);
    return true;
  } finally {
    file.close();
  }
}
