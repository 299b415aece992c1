/** A file of a model or adapter folder that cannot be served. The message says which file, what is wrong and why. */
export class ModelFormatError extends Error {
  readonly path: string;

  constructor(path: string, problem: string, cause?: unknown) {
    super(`${path}: ${problem}`, cause === undefined ? undefined : { cause });
    this.name = "ModelFormatError";
    this.path = path;
  }
}
