/** A configuration that cannot be used. The message names each field that is wrong. */
export class ConfigError extends Error {
  constructor(path: string, problems: readonly string[]) {
    super(`${path}: ${problems.join("; ")}.`);
    this.name = "ConfigError";
  }
}
