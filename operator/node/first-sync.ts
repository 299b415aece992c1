import { setTimeout as sleep } from "node:timers/promises";
import { ChainMoved } from "../chain/mirror/sync.ts";
import type { RegistryMirror } from "../chain/mirror.ts";

/** How often the registries are read at the start while the chain moves. */
const READS = 5;

/**
 * Reads the registries up to now. A chain that moves meanwhile is read again: a node must not end because it was started
 * in a re-org.
 *
 * @param pause Milliseconds before the second reading, growing from there.
 * @throws {ChainMoved} When it moved at every reading, and whatever the reader throws.
 */
export async function firstSync(
  mirror: Pick<RegistryMirror, "sync">,
  { signal, say, pause = 500 }: { signal: AbortSignal; say: (line: string) => void; pause?: number },
): Promise<void> {
  for (let reading = 1; ; reading++) {
    try {
      await mirror.sync(signal);
      return;
    } catch (error) {
      if (!(error instanceof ChainMoved) || reading === READS) throw error;
      say(error.message);
      await sleep(reading * pause, undefined, { signal });
    }
  }
}
