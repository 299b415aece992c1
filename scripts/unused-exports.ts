// Lists exports that no other file names. A name that another file mentions counts as used: coarse, but it never
// reports what is in use, and what it reports is dead. Types are left out: they are the words in which an exported
// function is described, named elsewhere or not.
import { globSync, readFileSync } from "node:fs";

const texts = new Map(
  globSync(["hardhat.config.ts", "{operator,deploy,scripts,test}/**/*.{ts,js}"]).map((path) => [
    path,
    readFileSync(path, "utf8"),
  ]),
);
const words = new Map([...texts].map(([path, text]) => [path, new Set(text.match(/\w+/g))]));
const declaration = /^export\s+(?:default\s+)?(?:abstract\s+)?(?:async\s+)?(?:const|let|function\*?|class)\s+(\w+)/gm;

const unused: string[] = [];
for (const [path, text] of texts) {
  if (!path.startsWith("operator/") && !path.startsWith("scripts/") && !path.startsWith("deploy/")) continue;
  for (const [, name] of text.matchAll(declaration)) {
    const used = [...words].some(([other, set]) => other !== path && set.has(name));
    if (!used) unused.push(`${path}: ${name}`);
  }
}
if (unused.length > 0) {
  console.error(
    `${unused.length} exports are used nowhere else; drop the export or the code:\n  ${unused.join("\n  ")}`,
  );
  process.exit(1);
}
console.log(`${texts.size} files, every export is used`);
