import { setTimeout as pause } from "node:timers/promises";
import { HubError } from "./hub-error.ts";
import type { HubName } from "./hub-name.ts";
import type { HubSettings } from "./hub-settings.ts";
import { refusalOf } from "./refusals.ts";

const TRIES = 3;
/** Of one answer of the hub's API; a page of its longest list is a hundredth of it. */
const MAX_API_BYTES = 32 << 20;

/** How a hub is asked about one repository. */
export interface HubRequests {
  /** For what speaks the hub's API: whole answers, from the hub's own origin only, asked for again where that may help. */
  readonly api: typeof fetch;
  /** Opens a file from a byte on, once; its body is still to be read. Whoever asks gives the signal that ends it. */
  open(url: string, from: number, signal: AbortSignal): Promise<Response>;
}

/**
 * Requests that carry the token to the endpoint alone (`fetch` drops it where a redirect leaves the origin) and fail
 * with a {@link HubError} that says what to do.
 */
export function hubRequests(name: HubName, settings: HubSettings, signal?: AbortSignal): HubRequests {
  const { origin } = new URL(settings.endpoint);
  const own = {
    "user-agent": "openledger",
    ...(settings.token !== undefined && { authorization: `Bearer ${settings.token}` }),
  };
  const ask = async (url: string, headers: Record<string, string>, until: AbortSignal): Promise<Response> => {
    let response: Response;
    try {
      response = await fetch(url, { headers: { ...headers, ...own }, signal: until });
    } catch (error) {
      throw interrupted(signal) ?? unreachable(settings, error);
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw refusalOf(response, name, settings);
  };
  const askWhole = async (url: string, accept: string): Promise<Response> => {
    const until = AbortSignal.any([AbortSignal.timeout(settings.idleMs), ...(signal ? [signal] : [])]);
    const response = await ask(url, { accept }, until);
    try {
      return new Response(await wholeBody(response, settings), { status: response.status, headers: response.headers });
    } catch (error) {
      throw interrupted(signal) ?? (error instanceof HubError ? error : unreachable(settings, error));
    }
  };
  return {
    api: async (input, init) => {
      const url = String(input);
      // The list of files says itself where it goes on.
      if (new URL(url).origin !== origin) {
        throw new HubError("unusable", `${settings.endpoint} leads to ${new URL(url).origin} for its own answers.`);
      }
      const accept = new Headers(init?.headers).get("accept") ?? "application/json";
      for (let attempt = 1; ; attempt++) {
        try {
          return await askWhole(url, accept);
        } catch (error) {
          if (attempt === TRIES || !(error instanceof HubError) || error.code !== "unavailable") throw error;
          await waitBeforeTrying(attempt, settings, signal);
        }
      }
    },
    open: (url, from, until) => {
      // Ranges and lengths are of the bytes that the hub has hashed.
      const range: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
      return ask(url, { "accept-encoding": "identity", ...range }, until);
    },
  };
}

/** A pause that doubles with every failure in a row. @throws {HubError} `cancelled` */
export async function waitBeforeTrying(
  failures: number,
  { pauseMs }: HubSettings,
  signal?: AbortSignal,
): Promise<void> {
  await pause(pauseMs * 2 ** (failures - 1), undefined, { signal }).catch(() => {
    throw interrupted(signal);
  });
}

/** The error of a signal that the caller has fired. */
export function interrupted(signal: AbortSignal | undefined): HubError | undefined {
  if (!signal?.aborted) return undefined;
  return new HubError("cancelled", "Stopped. The same command goes on where it was.", signal.reason);
}

/** Something went wrong on the way to the hub, or back. */
export function unreachable({ endpoint }: HubSettings, error: unknown): HubError {
  const { message, cause } = error as { message: string; cause?: { code?: string; message?: string } };
  const reason = cause?.code ?? cause?.message ?? message;
  return new HubError("unavailable", `${endpoint} cannot be reached (${reason}).`, error);
}

async function wholeBody(response: Response, { endpoint }: HubSettings): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > MAX_API_BYTES) throw new HubError("unusable", `${endpoint} answers with more than a hub does.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
