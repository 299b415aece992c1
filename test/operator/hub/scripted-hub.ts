import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** Files of at least so many bytes are kept apart from git and served from another address, as large ones are. */
const LARGE = 100_000;
/** Entries on a page of the list of files. */
const PAGE = 3;

interface ScriptedFile {
  bytes: Buffer;
  /** What the list says in place of the truth. */
  listed?: { size?: number; oid?: string };
}

export interface ScriptedRepository {
  commit: string;
  files: Map<string, ScriptedFile>;
  /** Whoever has no token gets nothing of the files. */
  gated?: boolean;
  private?: boolean;
}

export interface SeenRequest {
  host: "hub" | "cdn";
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/**
 * Speaks what the hub documents and its own clients rely on: the commit of a revision, the list of files in pages,
 * `resolve` with a redirect to another origin for large files and one within the origin for small ones, `ETag` and
 * `X-Linked-Etag`, ranges, `X-Error-Code`, 401 for what is private or absent. It is no hub: what it was written from are
 * the clients.
 */
export class ScriptedHub {
  static readonly TOKEN = "hf_scripted";
  readonly repositories = new Map<string, ScriptedRepository>();
  readonly seen: SeenRequest[] = [];
  url = "";
  /** Answers to large files are spoilt in this way. */
  spoil: {
    /** Breaks the connection after so many bytes of an answer, as many times as `times` says. */
    cut?: { after: number; times: number };
    /** Turns one bit of the byte at this place. */
    flip?: number;
    ranges?: "none" | "wrong";
    /** Announced in place of the real length. */
    length?: number;
    /** Sends without a length, and does not end. */
    endless?: boolean;
    /** Milliseconds between pieces of 64 KiB. */
    slow?: number;
    /** The list of files goes on at another origin. */
    listElsewhere?: boolean;
    /** Statuses to answer with before anything else is done, one for each request. */
    statuses?: number[];
  } = {};
  private readonly servers: Server[] = [];
  private cdn = "";

  static async start(): Promise<ScriptedHub> {
    const hub = new ScriptedHub();
    hub.cdn = await hub.listen((request, response) => hub.answerCdn(request, response));
    hub.url = await hub.listen((request, response) => hub.answerHub(request, response));
    return hub;
  }

  async close(): Promise<void> {
    for (const server of this.servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** A repository of a folder's files, beside what every repository has and no engine wants. */
  add(id: string, folder: string, more: Partial<ScriptedRepository> = {}): ScriptedRepository {
    const files = new Map<string, ScriptedFile>();
    for (const name of readdirSync(folder)) files.set(name, { bytes: readFileSync(join(folder, name)) });
    for (const name of ["README.md", "train.py", "setup.sh", ".gitattributes"]) {
      files.set(name, { bytes: Buffer.from(`#!/bin/sh\n# ${name}\n`) });
    }
    const repository = { commit: createHash("sha1").update(id).digest("hex"), files, ...more };
    this.repositories.set(id, repository);
    return repository;
  }

  /** Requests for files, by name and range. */
  downloads(): string[] {
    return this.seen
      .filter(({ host, path }) => (host === "cdn" ? true : path.includes("/resolve-cache/")))
      .map(({ path, range }) => `${path.split("/").at(-1)}${range ? ` ${range}` : ""}`);
  }

  private async listen(answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<string> {
    const server = createServer((request, response) => {
      answer(request, response).catch((error) => response.destroy(error));
    });
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  private note(host: "hub" | "cdn", { url, headers }: IncomingMessage): string {
    const { range, authorization } = headers;
    this.seen.push({ host, path: url!, range, authorization });
    return url!;
  }

  private async answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(this.note("hub", request), this.url);
    const status = this.spoil.statuses?.shift();
    if (status !== undefined) return refuse(response, status);
    const { authorization } = request.headers;
    if (authorization !== undefined && authorization !== `Bearer ${ScriptedHub.TOKEN}`) {
      return refuse(response, 401, undefined, "Invalid credentials in Authorization header");
    }
    const [, api, id, what, revision, name] = (
      /^\/(api\/models\/|)([^/]+\/[^/]+)\/(revision|tree|resolve|resolve-cache)\/([^/]+)(?:\/([^/]+))?$/.exec(
        url.pathname,
      ) ?? []
    ).map((part) => decodeURIComponent(part ?? ""));
    const repository = this.repositories.get(id);
    if (id === undefined) return refuse(response, 404);
    if (repository === undefined || (repository.private && authorization === undefined)) {
      return refuse(response, authorization === undefined ? 401 : 404, "RepoNotFound", "Repository not found");
    }
    const isKnown = revision === "main" || revision === "refs/pr/1" || revision === repository.commit;
    if (!isKnown) return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    if (api && what === "revision") {
      const about = { _id: "6", id, sha: repository.commit, private: !!repository.private, gated: !!repository.gated };
      return json(response, { ...about, downloads: 1, likes: 1, lastModified: "2026-01-01T00:00:00.000Z" });
    }
    if (api) return this.answerTree(url, id, repository, response);
    if (repository.gated && authorization === undefined) return refuse(response, 401, "GatedRepo", `${id} is gated`);
    const file = repository.files.get(name);
    if (file === undefined) return refuse(response, 404, "EntryNotFound", "Entry not found");
    const etag = `"${oidOf(file)}"`;
    const common = { "x-repo-commit": repository.commit, "accept-ranges": "bytes" };
    if (file.bytes.length >= LARGE) {
      const linked = { "x-linked-etag": etag, "x-linked-size": String(file.bytes.length) };
      response
        .writeHead(302, { ...common, ...linked, location: `${this.cdn}/${encodeURIComponent(id)}/${name}` })
        .end();
    } else if (what === "resolve") {
      const location = `/${id}/resolve-cache/${repository.commit}/${encodeURIComponent(name)}`;
      response.writeHead(307, { ...common, etag, location }).end();
    } else response.writeHead(200, { ...common, etag, "content-length": file.bytes.length }).end(file.bytes);
  }

  private answerTree(url: URL, id: string, { commit, files }: ScriptedRepository, response: ServerResponse): void {
    const entries: object[] = [...files].map(([path, file]) => {
      const { size = file.bytes.length, oid = oidOf(file) } = file.listed ?? {};
      const isLarge = file.bytes.length >= LARGE || oid.length === 64;
      const lfs = isLarge ? { lfs: { oid, size, pointerSize: 135 }, xetHash: "0".repeat(64) } : {};
      return { type: "file", oid: isLarge ? "1".repeat(40) : oid, size, path, ...lfs };
    });
    entries.unshift({ type: "directory", oid: "2".repeat(40), size: 0, path: "onnx" });
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const next = `${this.spoil.listElsewhere ? this.cdn : this.url}/api/models/${id}/tree/${commit}?recursive=false&expand=false&cursor=${from + PAGE}`;
    if (from + PAGE < entries.length) response.setHeader("link", `<${next}>; rel="next"`);
    json(response, entries.slice(from, from + PAGE));
  }

  private async answerCdn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, id, name] = this.note("cdn", request).split("/").map(decodeURIComponent);
    const { cut, flip, ranges, length, endless, slow } = this.spoil;
    let { bytes } = this.repositories.get(id)!.files.get(name)!;
    if (flip !== undefined) {
      bytes = Buffer.from(bytes);
      bytes[flip] ^= 1;
    }
    const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
    const from = asked === undefined || ranges === "none" ? 0 : Number(asked) + (ranges === "wrong" ? 1 : 0);
    const body = bytes.subarray(from);
    const isPart = asked !== undefined && ranges !== "none";
    response.writeHead(isPart ? 206 : 200, {
      ...(endless ? {} : { "content-length": length ?? body.length }),
      ...(isPart && { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    const end = cut && cut.times-- > 0 ? cut.after : body.length;
    for (let at = 0; at < end && !response.destroyed; at += 65_536) {
      const piece = body.subarray(at, Math.min(end, at + 65_536));
      await new Promise((resolve) => response.write(piece, resolve));
      if (slow !== undefined) await pause(slow);
    }
    while (endless && !response.destroyed) {
      response.write(Buffer.alloc(65_536));
      await pause(1);
    }
    // What is still on its way would be lost with the connection.
    if (end < body.length) await pause(50);
    if (end < body.length) response.destroy();
    else response.end();
  }
}

function oidOf({ bytes }: ScriptedFile): string {
  if (bytes.length >= LARGE) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code?: string, message?: string): void {
  const headers = { ...(code && { "x-error-code": code }), ...(message && { "x-error-message": message }) };
  response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify({ error: message }));
}
