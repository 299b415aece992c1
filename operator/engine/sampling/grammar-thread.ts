import { createRequire } from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from "@mlc-ai/web-xgrammar";
import type { GrammarCommand, GrammarReport, GrammarThreadData } from "./grammar-service.ts";
import { MASK_OFFSET } from "./grammar-service.ts";

/** Compiled grammars kept for the next answer with the same schema. */
const KEPT = 16;
/** White space between two JSON tokens, at most: a model that likes spaces must come to an end. */
const MAX_WHITESPACE = 8;

const { vocabulary, stopTokens } = workerData as GrammarThreadData;
const port = parentPort!;

interface Open {
  readonly matcher: GrammarMatcher;
  readonly shared: Int32Array;
}

const sessions = new Map<number, Open>();
const compiled = new Map<string, CompiledGrammar>();
const xgrammar = await loadLibrary();
const compiler = await makeCompiler();

// One command after the other: the library's calls are asynchronous only in form.
let work: Promise<void> = Promise.resolve();
port.on("message", (command: GrammarCommand) => {
  work = work
    .then(() => run(command))
    .catch((error) => report({ id: command.id, failed: String(error?.message ?? error) }));
});

async function run(command: GrammarCommand): Promise<void> {
  const { id } = command;
  if (command.kind === "open") {
    report({ id, started: true });
    const grammar = await grammarOf(command.schema, command.strict);
    const matcher = await xgrammar.GrammarMatcher.createGrammarMatcher(grammar, undefined, stopTokens.length === 0);
    const open = { matcher, shared: new Int32Array(command.shared) };
    sessions.set(id, open);
    for (const token of command.accepted) matcher.acceptToken(token);
    await writeMask(open, command.accepted.length + 1);
    report({ id, opened: true });
    return;
  }
  const open = sessions.get(id);
  if (open === undefined) return;
  if (command.kind === "close") {
    open.matcher.dispose();
    sessions.delete(id);
    return;
  }
  if (!open.matcher.acceptToken(command.token)) throw new Error(`token ${command.token} breaks the grammar`);
  await writeMask(open, command.version);
}

async function writeMask({ matcher, shared }: Open, version: number): Promise<void> {
  const finished = matcher.isTerminated();
  if (!finished) shared.set(await matcher.getNextTokenBitmask(), MASK_OFFSET);
  Atomics.store(shared, 1, finished ? 1 : 0);
  Atomics.store(shared, 0, version);
  Atomics.notify(shared, 0);
}

async function grammarOf(schema: string, strict: boolean): Promise<CompiledGrammar> {
  const key = `${strict}${schema}`;
  const known = compiled.get(key);
  compiled.delete(key);
  const grammar =
    known ?? (await compiler.compileJSONSchema(schema, true, undefined, undefined, strict, MAX_WHITESPACE));
  compiled.set(key, grammar);
  for (const [oldest, other] of compiled) {
    if (compiled.size <= KEPT) break;
    other.dispose();
    compiled.delete(oldest);
  }
  return grammar;
}

async function makeCompiler(): Promise<GrammarCompiler> {
  const { TokenizerInfo, GrammarCompiler } = xgrammar;
  const info = await TokenizerInfo.createTokenizerInfo(
    [...vocabulary],
    "byte_level",
    false,
    vocabulary.length,
    stopTokens.length === 0 ? undefined : [...stopTokens],
  );
  return GrammarCompiler.createGrammarCompiler(info, false);
}

/**
 * The library is written for browsers and for CommonJS, and packaged as neither: as a module it looks for `require` and
 * leaves itself on the global object.
 */
async function loadLibrary(): Promise<typeof import("@mlc-ai/web-xgrammar")> {
  const require = createRequire(import.meta.url);
  const path = require.resolve("@mlc-ai/web-xgrammar");
  Object.assign(globalThis, { require, __filename: path, __dirname: "." });
  await import("@mlc-ai/web-xgrammar");
  return (globalThis as unknown as { xgrammar: typeof import("@mlc-ai/web-xgrammar") }).xgrammar;
}

function report(message: GrammarReport): void {
  port.postMessage(message);
}
