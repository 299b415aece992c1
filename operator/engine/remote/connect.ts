import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import { adapterHash } from "../model/adapter-folder.ts";
import type { AdapterHash } from "./adapter-names.ts";
import { HttpClient, type HttpClientOptions } from "./http-client.ts";
import { isObject } from "./json.ts";
import { llamaCppProtocol } from "./llama-cpp.ts";
import { loraxProtocol } from "./lorax.ts";
import { RemoteEngine } from "./remote-engine.ts";
import type { RemoteProtocol } from "./remote-protocol.ts";
import { sglangProtocol } from "./sglang.ts";
import { vllmProtocol } from "./vllm.ts";

export interface ConnectOptions extends HttpClientOptions {
  /** Requests in flight at most. Default 512. */
  readonly maxInFlight?: number;
  /** Content hash of an adapter folder. Default: read where this machine sees the folder too. */
  readonly hashOf?: AdapterHash;
}

const PROTOCOLS: Readonly<Record<string, { name: string; make: (http: HttpClient) => RemoteProtocol }>> = {
  vllm: { name: "vLLM", make: vllmProtocol },
  sglang: { name: "SGLang", make: sglangProtocol },
  lorax: { name: "LoRAX", make: loraxProtocol },
  llamacpp: { name: "llama.cpp", make: llamaCppProtocol },
};

const ADDRESS = /^(?:([a-z]+)\+)?(https?):\/\//;

/** Whether a model setting names a server: `vllm+http://host:8000`, or `http://host` to ask it what it is. */
export function isRemoteEngineAddress(address: string): boolean {
  const match = ADDRESS.exec(address);
  return match !== null && (match[1] === undefined || Object.hasOwn(PROTOCOLS, match[1]));
}

/**
 * Connects to a server that can stand behind the `Engine` interface.
 *
 * @param address `vllm+http://host:8000`, `sglang+…`, `lorax+…`, `llamacpp+…` (http or https, a path is kept), or a
 *   plain `http(s)://` address, which is asked what it is
 * @throws EngineError `invalid_request` on an address that names no known server, `unavailable` when nobody answers
 *
 * @example
 * const engine = await connectRemoteEngine("vllm+http://127.0.0.1:8000");
 */
export async function connectRemoteEngine(address: string, options: ConnectOptions = {}): Promise<Engine> {
  const match = ADDRESS.exec(address);
  if (match === null || !isRemoteEngineAddress(address)) {
    const known = Object.keys(PROTOCOLS).join("+http://, ");
    throw new EngineError("invalid_request", `"${address}" is no address of a server: use ${known}+http:// or http://`);
  }
  const base = parseBase(address.slice((match[1]?.length ?? -1) + 1));
  const kind = match[1] ?? (await detect(new HttpClient("The server", base, options)));
  const { name, make } = PROTOCOLS[kind];
  const protocol = make(new HttpClient(name, base, options));
  const facts = await protocol.facts();
  return new RemoteEngine(protocol, facts, {
    address: `${kind}+${base.href}`,
    hashOf: options.hashOf ?? visibleHash,
    ...(options.maxInFlight !== undefined && { maxInFlight: options.maxInFlight }),
  });
}

async function visibleHash(folder: string): Promise<string | undefined> {
  return existsSync(join(folder, "adapter_model.safetensors")) ? adapterHash(folder) : undefined;
}

function parseBase(text: string): URL {
  const base = URL.canParse(text) ? new URL(text) : undefined;
  if (base === undefined) throw new EngineError("invalid_request", "The server's address cannot be read");
  // A key inside an address ends up in logs; it has an option of its own.
  if (base.username !== "" || base.password !== "") {
    throw new EngineError("invalid_request", "Give the key as an option, not inside the address");
  }
  base.search = "";
  base.hash = "";
  return base;
}

/** By what servers say of themselves: the owner in the list of models, or LoRAX's `/info`, which has no such list. */
async function detect(http: HttpClient): Promise<string> {
  const list = await http.get("/v1/models").catch((error) => {
    if (error instanceof EngineError && error.code === "unavailable") throw error;
    return undefined;
  });
  const cards = isObject(list) && Array.isArray(list.data) ? list.data.filter(isObject) : [];
  const owner = cards.map((card) => card.owned_by).find((value) => typeof value === "string");
  if (typeof owner === "string" && Object.hasOwn(PROTOCOLS, owner)) return owner;
  const info = await http.get("/info").catch(() => undefined);
  if (isObject(info) && typeof info.model_id === "string" && "max_total_tokens" in info) return "lorax";
  throw new EngineError("invalid_request", `No known server answers at this address: say which, as in vllm+http://…`);
}
