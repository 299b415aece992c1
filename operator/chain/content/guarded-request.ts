import { lookup as systemLookup } from "node:dns";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { ContentError } from "./content-error.ts";
import { isPublicAddress } from "./private-addresses.ts";

const MAX_REDIRECTS = 5;

/** How names are resolved: `dns.lookup` unless given. */
export type Resolve = typeof systemLookup;

interface GuardedOptions {
  /** Beginnings of addresses (`http://127.0.0.1:8080/ipfs/`) that the operator has chosen, which may be private. */
  trusted: readonly string[];
  signal: AbortSignal;
  resolve?: Resolve;
}

/**
 * Opens an HTTP(S) address that somebody else has chosen.
 *
 * The address that a name resolves to is checked by the very look-up with which the connection is made, so no second
 * answer of a name server can differ from the first. Every redirect is checked as if it were asked for.
 *
 * @returns The body, not compressed.
 * @throws {ContentError} `refused` for private addresses and other protocols, `unavailable` for all that goes wrong.
 */
export async function openGuarded(address: string, options: GuardedOptions): Promise<IncomingMessage> {
  let url = parse(address);
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const response = await requestOnce(url, options);
    const { statusCode = 0, headers } = response;
    if (statusCode === 200) {
      const encoding = headers["content-encoding"] ?? "identity";
      if (encoding === "identity") return response;
      response.destroy();
      throw new ContentError("unavailable", `${url.href} answers in ${encoding}, which was not asked for`);
    }
    response.destroy();
    if (![301, 302, 303, 307, 308].includes(statusCode) || headers.location === undefined) {
      throw new ContentError("unavailable", `${url.href} answers ${statusCode}`);
    }
    url = parse(headers.location, url);
  }
  throw new ContentError("unavailable", `${address} redirects more than ${MAX_REDIRECTS} times`);
}

function parse(address: string, base?: URL): URL {
  const url = URL.parse(address, base?.href);
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new ContentError("refused", `${address.slice(0, 200)} is no http or https address`);
  }
  if (url.username || url.password) throw new ContentError("refused", "An address must not carry a user or password");
  return url;
}

interface GuardedRequest extends GuardedOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/**
 * One request to an address that somebody else has chosen, guarded as {@link openGuarded} is. Redirects are answers.
 *
 * @throws {ContentError} `refused` for private addresses and other protocols, `unavailable` for all that goes wrong.
 */
export function sendGuarded(url: URL, request: GuardedRequest): Promise<IncomingMessage> {
  return requestOnce(parse(url.href), request);
}

function requestOnce(url: URL, request: GuardedRequest): Promise<IncomingMessage> {
  const { trusted: beginnings, signal, resolve, method = "GET", headers, body } = request;
  const trusted = beginnings.some((beginning) => url.href.startsWith(beginning));
  const host = url.hostname.replace(/^\[|\]$/g, "");
  // Numeric hosts are connected to without a look-up.
  if (!trusted && isIP(host) && !isPublicAddress(host)) return Promise.reject(refusal(url.host, host));
  return new Promise((fulfil, reject) => {
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    const outgoing = send(url, {
      // No connection is kept: one that was allowed for a trusted origin must not serve another address.
      agent: false,
      method,
      headers: { ...headers, "accept-encoding": "identity", "user-agent": "openledger" },
      lookup: trusted ? resolve && asLookup(resolve) : guardedLookup(url.host, resolve ?? systemLookup),
      signal,
    });
    outgoing.on("response", fulfil);
    outgoing.on("error", (error) => {
      if (error instanceof ContentError) reject(error);
      else reject(new ContentError("unavailable", `${url.href} cannot be read: ${error.message}`, error));
    });
    outgoing.end(body);
  });
}

function asLookup(resolve: Resolve): LookupFunction {
  return (host, options, callback) => resolve(host, options, callback as never);
}

/** Resolves all addresses of a name and refuses when any is private: which of them is connected to is chance. */
function guardedLookup(shown: string, resolve: Resolve): LookupFunction {
  return (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, "");
      const list = addresses as { address: string; family: number }[];
      const wrong = list.find(({ address }) => !isPublicAddress(address));
      if (wrong) return callback(refusal(shown, wrong.address), "");
      if (options.all) callback(null, list);
      else callback(null, list[0].address, list[0].family);
    });
  };
}

function refusal(host: string, address: string): ContentError {
  return new ContentError("refused", `${host} leads to ${address}, which is not a public address`);
}
