import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const LAUNCHER = fileURLToPath(new URL("../../operator/cli/openledger.js", import.meta.url));

/** Characters of a process's log that are kept. */
const LOG = 200_000;
/** Milliseconds before a process that has ended is started again. */
const PAUSE = 50;

/** An end that nobody asked for. */
export interface UnexpectedEnd {
  role: string;
  code: number | null;
  wasReady: boolean;
  lastWords: string;
}

/** A role of a node in a process of its own, which is started again whenever it ends, as an init system does. */
export class Supervised {
  readonly role: string;
  /** Ends that were neither a kill nor asked for. */
  readonly unexpected: UnexpectedEnd[] = [];
  kills = 0;
  isReady = false;
  readonly #env: () => NodeJS.ProcessEnv;
  readonly #folder: string;
  readonly #wrap: () => readonly string[];
  #child: ChildProcess | undefined;
  #log = "";
  #isStopping = false;
  #wasKilled = false;
  #running: Promise<void>;

  /** @param given.wrap A command that starts the process, for limits of the operating system. */
  constructor(role: string, given: { folder: string; env: () => NodeJS.ProcessEnv; wrap?: () => readonly string[] }) {
    this.role = role;
    this.#env = given.env;
    this.#folder = given.folder;
    this.#wrap = given.wrap ?? (() => []);
    // Nobody else would end it.
    process.once("exit", () => this.#child?.kill("SIGKILL"));
    this.#running = this.#run();
  }

  get log(): string {
    return this.#log;
  }

  /** Undefined while it is not running. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Kills it as `kill -9` does. False when there is nothing to kill. */
  kill(): boolean {
    if (!this.#child?.pid || this.#wasKilled) return false;
    this.#wasKilled = true;
    this.isReady = false;
    this.kills++;
    return this.#child.kill("SIGKILL");
  }

  /** Resolves when it is ready. @throws Error When it is stopped first. */
  async ready(): Promise<void> {
    while (!this.isReady) {
      if (this.#isStopping) throw new Error(`The ${this.role} was stopped before it was ready.`);
      await sleep(20);
    }
  }

  /** Asks it to end, and does not start it again. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#child?.kill("SIGTERM");
    const patience = setTimeout(() => this.#child?.kill("SIGKILL"), 20_000);
    await this.#running;
    clearTimeout(patience);
  }

  /** Starts one that was stopped. */
  start(): void {
    this.#isStopping = false;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      await this.#once();
      if (!this.#isStopping) await sleep(PAUSE);
    }
  }

  async #once(): Promise<void> {
    this.#wasKilled = false;
    const args = [process.execPath, LAUNCHER, "operator", "start", "--role", this.role];
    const [command, ...rest] = [...this.#wrap(), ...args, "--config", `${this.#folder}/${this.role}.json`, "--json"];
    const child = spawn(command, rest, { env: this.#env(), cwd: this.#folder, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    const began = this.#log.length;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#log = (this.#log + text).slice(-LOG);
    });
    child.stdout.once("data", () => {
      this.isReady = !this.#wasKilled;
    });
    const [code] = (await once(child, "close")) as [number | null];
    const wasReady = this.isReady;
    this.isReady = false;
    this.#child = undefined;
    if (this.#wasKilled || this.#isStopping) return;
    const lastWords = this.#log.slice(Math.min(began, this.#log.length)).slice(-2_000);
    this.unexpected.push({ role: this.role, code, wasReady, lastWords });
  }
}
