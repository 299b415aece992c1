import type { JsonObject } from "./json-file.ts";

/** The parts of a PEFT `adapter_config.json` that decide what its numbers mean. */
export interface AdapterConfig {
  /** Listed target modules; null when the file gives a pattern and its tensors decide. */
  readonly names: readonly string[] | null;
  /** Whether a module, such as `model.layers.0.self_attn.q_proj`, is adapted. */
  targets(module: string): boolean;
  /** Rank of a module's factors and the factor on their product. */
  scaling(module: string): { rank: number; scale: number };
}

/** Members that change the meaning of the weights in ways this engine does not compute. */
const REFUSED = [
  "use_dora",
  "lora_bias",
  "modules_to_save",
  "fan_in_fan_out",
  "layer_replication",
  "alora_invocation_tokens",
  "trainable_token_indices",
  "target_parameters",
  "use_qalora",
  "megatron_config",
  "arrow_config",
];
/** Ways of starting that leave the base weights as they are; PiSSA, OLoRA, CorDA and LoftQ do not. */
const PLAIN_INITIALISATIONS: unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal", "lora_ga"];
const MAX_RANK = 4096;

/** @throws ModelFormatError on anything but plain LoRA. */
export function parseAdapterConfig(json: JsonObject): AdapterConfig {
  const type = json.string("peft_type", "LORA");
  if (type !== "LORA") json.fail("peft_type", `${JSON.stringify(type)} is not LORA`);
  for (const name of REFUSED) {
    const value = json.get(name);
    const off =
      value === undefined || value === false || (typeof value === "object" && Object.keys(value!).length === 0);
    if (!off) json.fail(name, "is not supported");
  }
  const bias = json.string("bias", "none");
  if (bias !== "none") json.fail("bias", `${JSON.stringify(bias)} is not supported`);
  if (!PLAIN_INITIALISATIONS.includes(json.get("init_lora_weights"))) {
    json.fail("init_lora_weights", "changes the base model: convert the adapter to plain LoRA first");
  }
  const rank = json.integer("r", { min: 1, max: MAX_RANK });
  const alpha = json.number("lora_alpha", { min: -1e6, max: 1e6 }, 8);
  const rootScale = json.boolean("use_rslora", false);
  const ranks = readPattern(json, "rank_pattern", (object, name) => object.integer(name, { min: 1, max: MAX_RANK }));
  const alphas = readPattern(json, "alpha_pattern", (object, name) => object.number(name, { min: -1e6, max: 1e6 }));
  const selects = readSelection(json);
  return {
    names: selects.names,
    targets: selects.targets,
    scaling: (module) => {
      const moduleRank = matchPattern(ranks, module) ?? rank;
      const moduleAlpha = matchPattern(alphas, module) ?? alpha;
      // rsLoRA: Kalajdzievski 2023, eq. 5.
      return { rank: moduleRank, scale: moduleAlpha / (rootScale ? Math.sqrt(moduleRank) : moduleRank) };
    },
  };
}

function readSelection(json: JsonObject): Pick<AdapterConfig, "names" | "targets"> {
  const layers = readLayers(json);
  const excluded = json.get("exclude_modules") === undefined ? [] : json.strings("exclude_modules")!;
  const raw = json.get("target_modules");
  // A pattern is never run: a hostile one could take for ever, and the tensors say what was trained.
  const names = typeof raw === "string" ? null : json.strings("target_modules");
  if (names === undefined || names?.length === 0) return json.fail("target_modules", "names nothing");
  const matches = (list: readonly string[], module: string) =>
    list.some((name) => module === name || module.endsWith(`.${name}`));
  return {
    names,
    targets: (module) => {
      if (matches(excluded, module)) return false;
      if (layers !== null && !layers.has(Number(/\.layers\.(\d+)\./.exec(module)?.[1]))) return false;
      return names === null || matches(names, module);
    },
  };
}

function readLayers(json: JsonObject): Set<number> | null {
  const value = json.get("layers_to_transform");
  if (value === undefined) return null;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0 || list.some((layer) => !Number.isInteger(layer))) {
    json.fail("layers_to_transform", "must be a layer or a list of layers");
  }
  const pattern = json.get("layers_pattern");
  if (pattern !== undefined && pattern !== "layers" && String(pattern) !== "") {
    json.fail("layers_pattern", `${JSON.stringify(pattern)} is not "layers"`);
  }
  return new Set(list as number[]);
}

type Pattern = readonly { name: string; whole: boolean; value: number }[];

function readPattern(json: JsonObject, member: string, read: (object: JsonObject, name: string) => number): Pattern {
  const object = json.object(member);
  if (!object) return [];
  return Object.keys(object.members).map((key) => {
    const name = key.replace(/^\^/, "").replace(/\$$/, "").replaceAll("\\.", ".");
    if (!/^[\w.]+$/.test(name)) object.fail(key, "is a pattern that is not supported: give module names");
    return { name, whole: key.startsWith("^"), value: read(object, key) };
  });
}

/** PEFT's rule: the first key that is the module's path or a suffix of it. */
function matchPattern(pattern: Pattern, module: string): number | undefined {
  return pattern.find(({ name, whole }) => module === name || (!whole && module.endsWith(`.${name}`)))?.value;
}
