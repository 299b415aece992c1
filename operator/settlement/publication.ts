import { mkdir, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../protocol/bytes.ts";

/** Name of published data: their hash. Whoever has the header knows it, and can tell whether the file is right. */
export function publishedName(dataHash: Uint8Array): string {
  return `${toHex(dataHash).slice(2)}.olbd`;
}

/**
 * Puts a batch's data into a directory, whole or not at all; what is there stays.
 *
 * @param data Their keccak-256 is `dataHash`.
 */
export async function publishData(directory: string, dataHash: Uint8Array, data: Uint8Array): Promise<void> {
  const path = join(directory, publishedName(dataHash));
  const known = await stat(path).catch(() => undefined);
  if (known?.size === data.length) return;
  await mkdir(directory, { recursive: true });
  const draft = `${path}.draft`;
  const file = await open(draft, "w");
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}
