import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isSqliteError } from "../chain/sqlite-error.ts";
import { interrupted } from "./hub-requests.ts";

/**
 * Waits until no other process fetches into a folder, and keeps others waiting until it is released. It is a lock of the
 * operating system: it goes with the process, however that ends.
 *
 * @param onWait Called once where there is somebody to wait for.
 * @returns What releases it.
 */
export async function takeDownloadLock(folder: string, onWait: () => void, signal?: AbortSignal): Promise<() => void> {
  const { DatabaseSync } = await import("node:sqlite");
  for (let waited = false; ; ) {
    const database = new DatabaseSync(join(folder, "fetching.lock"), { timeout: 0 });
    try {
      database.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
      return () => database.close();
    } catch (error) {
      database.close();
      if (!isSqliteError(error, "busy")) throw error;
    }
    if (!waited) onWait();
    waited = true;
    await pause(250, undefined, { signal }).catch(() => {
      throw interrupted(signal);
    });
  }
}
