/** Training data that cannot be used, with the place and what to do about it. */
export class TrainingDataError extends Error {
  override readonly name = "TrainingDataError";
  /** @param place file, perhaps with a line, or folder */
  constructor(place: string, problem: string) {
    super(`${place} ${problem}`);
  }
}
