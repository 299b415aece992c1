// npm run coverage [-- --json]: line and branch coverage of the contracts, by the Solidity tests and by the TypeScript
// tests that drive the contracts.
//
// Hardhat counts, for each statement, the tests that ran it, and reports lines. Branches are computed here from the
// same counts and solc's syntax tree: the two sides of every `if`. The first side was taken when its first statement
// ran; the other when its own first statement ran or, without an `else`, when more tests ran the `if` than its body.
// Sides that only one `?:` or `&&` decides are not counted.
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(import.meta.url);
// Hardhat's own instrumenter, so that the tags are those of its report.
const edr = createRequire(require.resolve("hardhat"))("@nomicfoundation/edr");
const solc = require("solc");

// As Hardhat does: our compiler's version, or the newest that the instrumenter parses.
const newest: string = edr.latestSupportedSolidityVersion();
const own: string = solc.version().match(/^\d+\.\d+\.\d+/)[0];
const instrumented = Number(own.split(".")[2]) <= Number(newest.split(".")[2]) ? own : newest;

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    reuse: { type: "boolean", default: false },
    minimum: { type: "string", default: "95" },
  },
});

interface Node {
  nodeType: string;
  src: string;
  [key: string]: unknown;
}

interface FileCoverage {
  lines: { found: number; hit: number };
  branches: { found: number; hit: number };
  missed: string[];
}

if (!values.reuse) {
  const stdio = ["ignore", values.json ? "ignore" : "inherit", "inherit"] as const;
  const driven = globSync("test/contracts/**/*.test.ts").sort();
  for (const tests of [["solidity"], ["nodejs", ...driven]]) {
    const { status } = spawnSync("hardhat", ["test", ...tests, "--coverage"], { stdio: [...stdio] });
    if (status !== 0) process.exit(status ?? 1);
  }
}

const counts = new Map<string, number>();
for (const file of globSync("coverage/data/*/*.json")) {
  for (const [tag, count] of Object.entries<number>(JSON.parse(readFileSync(file, "utf8")))) {
    counts.set(tag, (counts.get(tag) ?? 0) + count);
  }
}

const files = globSync("contracts/**/*.sol").sort();
const trees = syntaxTrees(files);
const report: Record<string, FileCoverage> = {};
for (const file of files) {
  const coverage = coverFile(file, trees[file]);
  if (coverage.lines.found > 0) report[file] = coverage;
}

const total = { lines: sum("lines"), branches: sum("branches") };
if (values.json) {
  console.log(JSON.stringify({ lines: percent(total.lines), branches: percent(total.branches), files: report }));
} else {
  for (const [file, { lines, branches, missed }] of Object.entries(report)) {
    console.log(`${file.padEnd(58)} lines ${shown(lines)}   branches ${shown(branches)}`);
    for (const place of missed) console.log(`    not taken: ${place}`);
  }
  console.log(`${"all contracts".padEnd(58)} lines ${shown(total.lines)}   branches ${shown(total.branches)}`);
}
const least = Number(values.minimum);
if (percent(total.lines) < least || percent(total.branches) < least) {
  console.error(`Below ${least} %.`);
  process.exit(1);
}

function syntaxTrees(paths: string[]): Record<string, Node> {
  const sources = Object.fromEntries(paths.map((path) => [path, { content: readFileSync(path, "utf8") }]));
  const settings = { stopAfter: "parsing", outputSelection: { "*": { "": ["ast"] } } };
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  return Object.fromEntries(paths.map((path) => [path, output.sources[path].ast]));
}

function coverFile(file: string, tree: Node): FileCoverage {
  const source = readFileSync(file, "utf8");
  const { metadata } = edr.addStatementCoverageInstrumentation(source, `project/${file}`, instrumented);
  const countAt = new Map<number, number>();
  const lineHit = new Map<number, boolean>();
  for (const { kind, tag, startUtf16 } of metadata) {
    if (kind !== "statement") continue;
    const count = counts.get(Buffer.from(tag).toString("hex")) ?? 0;
    // A statement's range begins with the blanks and comments before it.
    const begins = startUtf16 + (source.slice(startUtf16).match(/^(?:\s|\/\/.*\n|\/\*[\s\S]*?\*\/)*/)?.[0].length ?? 0);
    countAt.set(begins, count);
    const line = lineOf(source, begins);
    lineHit.set(line, (lineHit.get(line) ?? false) || count > 0);
  }
  // solc counts bytes, the instrumenter UTF-16 units.
  const bytes = Buffer.from(source);
  const start = (node: Node) => bytes.subarray(0, Number(node.src.split(":")[0])).toString().length;
  const first = (node: Node): number | undefined => {
    const [head] = node.nodeType === "Block" ? (node.statements as Node[]) : [node];
    return head && countAt.get(start(head));
  };

  const branches = { found: 0, hit: 0 };
  const missed: string[] = [];
  const side = (name: string, node: Node, taken: boolean) => {
    branches.found++;
    if (taken) branches.hit++;
    else missed.push(`line ${lineOf(source, start(node))}, ${name}`);
  };
  for (const node of walk(tree)) {
    if (node.nodeType !== "IfStatement") continue;
    const body = first(node.trueBody as Node) ?? 0;
    const reached = countAt.get(start(node)) ?? 0;
    side("condition true", node, body > 0);
    const otherwise = node.falseBody ? (first(node.falseBody as Node) ?? 0) : reached - body;
    side("condition false", node, otherwise > 0);
  }
  const hit = [...lineHit.values()].filter(Boolean).length;
  for (const [line, wasHit] of lineHit) if (!wasHit) missed.push(`line ${line}`);
  return { lines: { found: lineHit.size, hit }, branches, missed };
}

function* walk(node: unknown): Generator<Node> {
  if (node === null || typeof node !== "object") return;
  if ("nodeType" in node) yield node as Node;
  for (const child of Object.values(node)) yield* walk(child);
}

function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

function sum(kind: "lines" | "branches") {
  const parts = Object.values(report).map((coverage) => coverage[kind]);
  return { found: parts.reduce((n, part) => n + part.found, 0), hit: parts.reduce((n, part) => n + part.hit, 0) };
}

function percent({ found, hit }: { found: number; hit: number }): number {
  return found === 0 ? 100 : (100 * hit) / found;
}

function shown(part: { found: number; hit: number }): string {
  return `${percent(part).toFixed(1).padStart(5)} % (${part.hit}/${part.found})`.padEnd(18);
}
