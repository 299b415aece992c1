// A Redis for whoever has none: found, unpacked or run in Docker, without root and without a question.
//
//   node scripts/bootstrap.js run scripts/redis.ts      starts one, prints its URL, stops with Ctrl-C
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { cacheHome } from "../operator/engine/cache-home.ts";

/** A running Redis. `stop` ends it when this process started it, and does nothing when it was there before. */
export interface RunningRedis {
  url: string;
  source: string;
  stop(): Promise<void>;
}

interface Program {
  command: string;
  source: string;
  libraries?: string;
}

const cache = join(cacheHome(), "redis");

/**
 * Uses `REDIS_URL`, else a `redis-server` or `valkey-server` on PATH, else one unpacked from Debian's packages into the
 * user's cache, else Docker.
 *
 * @param options.dir where the append-only file lives; a temporary folder, removed at stop, when absent
 * @throws Error that names every way that was tried
 */
export async function startRedis(options: { dir?: string; say?: (line: string) => void } = {}): Promise<RunningRedis> {
  const say = options.say ?? (() => {});
  if (process.env.REDIS_URL) {
    return { url: process.env.REDIS_URL, source: "REDIS_URL", stop: async () => {} };
  }
  const tried: string[] = [];
  const program = onPath(tried) ?? unpacked(tried, say);
  if (program) return startServer(program, options.dir);
  const container = await startContainer(tried);
  if (container) return container;
  throw new Error(
    `No Redis. Set REDIS_URL, or install redis-server (apt install redis-server, brew install redis), or start Docker.\nTried:\n  ${tried.join("\n  ")}`,
  );
}

function onPath(tried: string[]): Program | undefined {
  for (const name of ["redis-server", "valkey-server"]) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      if (folder && existsSync(join(folder, name))) return { command: join(folder, name), source: name };
    }
  }
  tried.push("redis-server and valkey-server on PATH: not there");
}

/** The server out of Debian's packages: redis-check-rdb is the same program and takes its role from its name. */
function unpacked(tried: string[], say: (line: string) => void): Program | undefined {
  const found = (): Program | undefined => {
    const libraries = join(cache, "usr", "lib");
    if (!existsSync(join(cache, "redis-server")) || !existsSync(libraries)) return;
    const folders = readdirSync(libraries)
      .filter((name) => name.includes("-linux-gnu"))
      .map((name) => join(libraries, name));
    return {
      command: join(cache, "redis-server"),
      source: `Debian's packages in ${cache}`,
      libraries: folders.join(":"),
    };
  };
  const ready = found();
  if (ready) return ready;
  if (process.platform !== "linux" || spawnSync("apt-get", ["--version"]).status !== 0) {
    tried.push("Debian's packages: apt-get is not on this machine");
    return;
  }
  say("No Redis here: unpacking one from Debian's packages (7 MB, once) ...");
  mkdirSync(join(cache, ".."), { recursive: true });
  const work = mkdtempSync(join(cache, "..", "unpack-"));
  try {
    const packages = ["redis-tools", "libjemalloc2", "liblzf1", "libatomic1"];
    let failure = aptDownload(work, packages, []);
    if (failure) {
      // A machine whose package lists were never fetched: fetch them into a folder of our own.
      const lists = join(work, "lists");
      mkdirSync(join(lists, "partial"), { recursive: true });
      const own = [
        `-oDir::State=${work}`,
        `-oDir::State::Lists=${lists}`,
        "-oDir::State::status=/var/lib/dpkg/status",
        `-oDir::Cache=${work}`,
      ];
      const update = spawnSync("apt-get", [...own, "update"], { encoding: "utf8", timeout: 120_000 });
      failure = update.status === 0 ? aptDownload(work, packages, own) : update.stderr;
    }
    const archives = readdirSync(work).filter((name) => name.endsWith(".deb"));
    if (failure || archives.length < packages.length) {
      tried.push(`Debian's packages: ${(failure || "some could not be downloaded").trim().split("\n").at(-1)}`);
      return;
    }
    const tree = join(work, "tree");
    mkdirSync(tree);
    for (const archive of archives) spawnSync("dpkg", ["-x", join(work, archive), tree]);
    symlinkSync(join("usr", "bin", "redis-check-rdb"), join(tree, "redis-server"));
    rmSync(cache, { recursive: true, force: true });
    renameSync(tree, cache);
    return found();
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function aptDownload(cwd: string, packages: string[], options: string[]): string {
  const got = spawnSync("apt-get", [...options, "download", ...packages], { cwd, encoding: "utf8", timeout: 120_000 });
  return got.status === 0 ? "" : got.stderr || "apt-get download failed";
}

async function startServer(program: Program, folder: string | undefined): Promise<RunningRedis> {
  const dir = folder ?? mkdtempSync(join(tmpdir(), "openledger-redis-"));
  mkdirSync(dir, { recursive: true });
  const port = await freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", dir, "--appendonly", "yes"];
  // BullMQ loses jobs when Redis evicts keys.
  args.push("--maxmemory-policy", "noeviction", "--save", "", "--loglevel", "warning");
  const env = { ...process.env, ...(program.libraries ? { LD_LIBRARY_PATH: program.libraries } : {}) };
  const server = spawn(program.command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const output: string[] = [];
  server.stdout.on("data", (data) => output.push(String(data)));
  server.stderr.on("data", (data) => output.push(String(data)));
  const kill = () => server.kill();
  process.once("exit", kill);
  const stop = async () => {
    process.off("exit", kill);
    await ended(server, () => server.kill());
    if (!folder) rmSync(dir, { recursive: true, force: true });
  };
  try {
    await answering(port, server);
  } catch (error) {
    await stop();
    throw new Error(`${program.command} did not start: ${(error as Error).message}\n${output.join("")}`);
  }
  return { url: `redis://127.0.0.1:${port}`, source: program.source, stop };
}

async function startContainer(tried: string[]): Promise<RunningRedis | undefined> {
  const port = await freePort();
  const args = ["run", "--rm", "-d", "-p", `127.0.0.1:${port}:6379`, "redis:7-alpine"];
  const command = ["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction"];
  const { status, stdout, stderr } = spawnSync("docker", [...args, ...command], { encoding: "utf8", timeout: 120_000 });
  if (status !== 0) {
    tried.push(`Docker: ${(stderr || "not on this machine").trim().split("\n")[0]}`);
    return;
  }
  await answering(port);
  const stop = async () => void spawnSync("docker", ["stop", stdout.trim()]);
  return { url: `redis://127.0.0.1:${port}`, source: "Docker", stop };
}

function ended(child: ChildProcess, ask: () => void): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    ask();
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Resolves when PING is answered; rejects after 20 s or when `server` has ended. */
async function answering(port: number, server?: ChildProcess): Promise<void> {
  const ping = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
      const done = (answer: boolean) => {
        socket.destroy();
        resolve(answer);
      };
      socket.setTimeout(500, () => done(false));
      socket.once("data", (data) => done(String(data).startsWith("+PONG")));
      socket.once("error", () => done(false));
    });
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    if (await ping()) return;
    if (server && server.exitCode !== null) throw new Error(`it ended with status ${server.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("no answer to PING within 20 s");
}

if (import.meta.main) {
  const redis = await startRedis({ say: console.log });
  console.log(`${redis.url} (${redis.source}); Ctrl-C stops it`);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, async () => {
      await redis.stop();
      process.exit(0);
    });
  }
}
