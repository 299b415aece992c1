import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that the repository carries. */
export const BUNDLE = fileURLToPath(new URL("../../operator/bundled", import.meta.url));
export { BUNDLED_MODEL } from "../../operator/engine/bundled-model.ts";

/** What the bundle is, how it was made and what it can do. */
export const BUNDLE_MANIFEST = join(BUNDLE, "bundled.json");
/** Everything that may be made again: checkpoints. */
export const WORK = fileURLToPath(new URL("../../.cache/bundled", import.meta.url));

export const adapterFolder = (skill: string): string => join(BUNDLE, "adapters", skill);
const dataNetFolder = (name: string): string => join(BUNDLE, "datanets", name);
export const skillNetFolder = (skill: string): string => dataNetFolder(`skill-${skill}`);
