import { join } from "node:path";
import { cacheHome } from "../engine/cache-home.ts";
import { HubError } from "./hub-error.ts";

/** Which hub is asked, as whom, and what may come of it. */
export interface HubSettings {
  /** Address of the hub, without a slash at its end. */
  readonly endpoint: string;
  /** Goes to the endpoint alone, never to where it redirects. */
  readonly token: string | undefined;
  /** Nothing is asked of the network. */
  readonly offline: boolean;
  /** Folder for what was fetched. */
  readonly cache: string;
  /** Bytes of one model or adapter at most. */
  readonly maxBytes: number;
  /** Milliseconds without a byte after which a connection is given up. */
  readonly idleMs: number;
  /** Milliseconds before something is tried again, doubled each time. */
  readonly pauseMs: number;
}

const DEFAULT_MAX_GB = 100;

/**
 * Settings from the environment: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` as Hugging Face's own programs read them,
 * `OPENLEDGER_HUB_MAX_GB`, `XDG_CACHE_HOME`.
 *
 * @throws {HubError} `settings`
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const endpoint = readEndpoint(env.HF_ENDPOINT || "https://huggingface.co");
  const token = env.HF_TOKEN?.trim() || undefined;
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new HubError("settings", "HF_TOKEN holds characters that no token has.");
  }
  if (token !== undefined && !mayCarryToken(new URL(endpoint))) {
    throw new HubError("settings", `HF_TOKEN is not sent over plain http: HF_ENDPOINT is ${endpoint}. Use https.`);
  }
  const given = env.OPENLEDGER_HUB_MAX_GB;
  const gigabytes = given ? Number(given) : DEFAULT_MAX_GB;
  if (!(gigabytes > 0 && gigabytes < Infinity)) {
    throw new HubError("settings", `OPENLEDGER_HUB_MAX_GB is ${given}, not a number of gigabytes above 0.`);
  }
  return {
    ...{ endpoint, token, maxBytes: gigabytes * 1e9, idleMs: 30_000, pauseMs: 500 },
    offline: /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? ""),
    cache: join(cacheHome(), "hub"),
  };
}

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new HubError("settings", `HF_ENDPOINT is ${JSON.stringify(text)}, not an http or https address.`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new HubError("settings", "HF_ENDPOINT must not carry a user or password: use HF_TOKEN.");
  }
  return url.href.replace(/\/+$/, "");
}

function mayCarryToken({ protocol, hostname }: URL): boolean {
  return protocol === "https:" || ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
}
