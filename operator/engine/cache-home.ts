import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/**
 * Folder for what can be made or fetched again: `openledger` in `XDG_CACHE_HOME`, or in `~/.cache` where that is not set,
 * empty or no absolute path (XDG Base Directory Specification 0.8).
 */
export function cacheHome(): string {
  const given = process.env.XDG_CACHE_HOME ?? "";
  return join(isAbsolute(given) ? given : join(homedir(), ".cache"), "openledger");
}
