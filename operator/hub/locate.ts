import { relative } from "node:path";
import { bundledModel } from "../engine/bundled-model.ts";
import { type FetchOptions, fetchRepository } from "./fetch-repository.ts";
import { HubError } from "./hub-error.ts";
import { type Place, placeOf } from "./hub-name.ts";

/**
 * The folder of a base model: a path of this machine, or a name on a hub, which is fetched.
 *
 * @returns Its absolute path. A path where nothing is is given back as it is: whoever reads it says what is missing.
 * @throws {HubError}
 */
export async function modelFolder(text: string, options: FetchOptions = {}): Promise<string> {
  return (await locateModel(placeOf(text), options)).folder;
}

/** As {@link modelFolder}; `pinned` is the name with the commit that was taken, where it is of a hub. */
export async function locateModel(
  place: Place,
  options: FetchOptions = {},
): Promise<{ folder: string; pinned?: string }> {
  if ("folder" in place) return place;
  try {
    const { folder, commit } = await fetchRepository(place.hub, "model", options);
    return { folder, pinned: `${place.hub.id}@${commit}` };
  } catch (error) {
    const bundled = bundledModel();
    const isAway = error instanceof HubError && (error.code === "unavailable" || error.code === "offline");
    if (!isAway || bundled === undefined) throw error;
    const path = relative(process.cwd(), bundled);
    const help = `A folder needs no network; ${path} has the model that comes with this program.`;
    throw new HubError(error.code, `${error.message} ${help}`, error);
  }
}

/** The folder of a PEFT adapter, as {@link modelFolder}. @throws {HubError} */
export async function adapterFolder(text: string, options: FetchOptions = {}): Promise<string> {
  const place = placeOf(text);
  return "folder" in place ? place.folder : (await fetchRepository(place.hub, "adapter", options)).folder;
}
