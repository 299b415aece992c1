#!/usr/bin/env node
// Checks that `npm ci` accepts package-lock.json on every platform and every npm.
//
// Two faults have been seen in locks that npm itself wrote:
//   - an optional dependency (a platform build) is named but has no entry of its own: `npm ci` then refuses the lock;
//   - an optional entry carries `engines`: npm on an older Node then skips it silently, native bindings among them.
// And one that must not be shared: `resolved` addresses tie the lock to one registry.
//
//   node scripts/lock-check.js         report, exit 1 on a fault
//   node scripts/lock-check.js --fix   remove `engines` of optional entries and `resolved` addresses
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
const faults = [];

/** The entry that `name` resolves to from the package at `from`, by npm's rule: innermost node_modules first. */
function entryFor(from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))) {
    const key = at === "" ? `node_modules/${name}` : `${at}/node_modules/${name}`;
    if (lock.packages[key]) return lock.packages[key];
    if (at === "") return undefined;
  }
}

for (const [key, entry] of Object.entries(lock.packages)) {
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    if (!entryFor(key, name)) faults.push(`${key || "the project"} names the optional ${name}, which has no entry`);
  }
  if (entry.optional && entry.engines) {
    faults.push(`${key} is optional and carries "engines"`);
    delete entry.engines;
  }
  if (entry.resolved && !entry.link) {
    faults.push(`${key} carries a "resolved" address`);
    delete entry.resolved;
  }
}

if (process.argv.includes("--fix")) {
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
} else if (faults.length > 0) {
  console.error(
    `package-lock.json has ${faults.length} fault(s); node scripts/lock-check.js --fix mends the last two kinds:`,
  );
  for (const fault of faults) console.error(`  ${fault}`);
  process.exit(1);
} else {
  console.log(`package-lock.json: ${Object.keys(lock.packages).length} entries, complete`);
}
