import { homedir } from "node:os";
import { join } from "node:path";

/** Folder for what can be made or fetched again: `openledger` in `XDG_CACHE_HOME`, or in `~/.cache`. */
export function cacheHome(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "openledger");
}
