import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the small base model is that comes with this program, in Hugging Face's layout. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../bundled/model", import.meta.url));

/** {@link BUNDLED_MODEL}, where this copy of the program has it. */
export function bundledModel(): string | undefined {
  return existsSync(join(BUNDLED_MODEL, "model.safetensors")) ? BUNDLED_MODEL : undefined;
}
