import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { cacheHome } from "../../../../operator/engine/cache-home.ts";
import { cApiRuntime } from "../../../../operator/engine/runtime/c-api-runtime.ts";
import { ortApi } from "../../../../operator/engine/runtime/ort-c-api.ts";

const cache = join(cacheHome(), "software-vulkan");
const FILES = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];
/** Debian's only package with a Vulkan in software that is new enough: Mesa's of Debian 12 is refused by WebGPU. */
const PACKAGE = "chromium-common";

/**
 * Makes a WebGPU device available to this process: the machine's own driver, or SwiftShader out of Debian's package of
 * Chromium, unpacked once into the user's cache (31 MB to fetch, 6 MB kept).
 *
 * @returns why there is none; null where there is one
 */
export async function missingWebGpu(): Promise<string | null> {
  ortApi();
  if (process.platform === "linux" && !hasDriver()) {
    const problem = unpack();
    if (problem) return problem;
    // Found by the name of a library that is loaded already; a first try without it could not be repeated.
    koffi.load(join(cache, FILES[0]));
    process.env.VK_DRIVER_FILES = join(cache, FILES[2]);
  }
  try {
    await cApiRuntime.openDevice!("webgpu").release();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

function hasDriver(): boolean {
  const folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
  const chosen = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  return chosen !== undefined || folders.some((folder) => existsSync(folder) && readdirSync(folder).length > 0);
}

function unpack(): string | null {
  if (FILES.every((name) => existsSync(join(cache, name)))) return null;
  const nothing = "no Vulkan driver, and SwiftShader could not be unpacked from Debian's chromium-common";
  mkdirSync(join(cache, ".."), { recursive: true });
  const work = mkdtempSync(join(cache, "..", "unpack-"));
  try {
    const got = spawnSync("apt-get", ["download", PACKAGE], { cwd: work, encoding: "utf8", timeout: 120_000 });
    const archive = readdirSync(work).find((name) => name.endsWith(".deb"));
    if (!archive) return `${nothing}: ${got.error?.message ?? got.stderr.trim().split("\n").at(-1)}`;
    const tree = join(work, "tree");
    mkdirSync(tree);
    spawnSync("dpkg", ["-x", join(work, archive), tree]);
    const found = join(tree, "usr", "lib", "chromium");
    const kept = join(work, "kept");
    mkdirSync(kept);
    for (const name of FILES) {
      if (!existsSync(join(found, name))) return `${nothing}: ${archive} has no ${name}`;
      renameSync(join(found, name), join(kept, name));
    }
    rmSync(cache, { recursive: true, force: true });
    renameSync(kept, cache);
    return null;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
