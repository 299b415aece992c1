// Loaded before a node's program (`--import`), in its threads too: the clock is as many seconds wrong as the file says
// that OPENLEDGER_TEST_CLOCK names, and jumps when the file changes. What measures spans (`performance.now`, timers) runs
// on, as it does when a machine's clock is set.
import { readFileSync } from "node:fs";

const file = process.env.OPENLEDGER_TEST_CLOCK!;
/** Milliseconds between two looks at the file. */
const LOOK = 20;

const TrueDate = Date;
let offset = 0;
let lookAt = 0;

function now(): number {
  const elapsed = performance.now();
  if (elapsed >= lookAt) {
    lookAt = elapsed + LOOK;
    offset = Number(readFileSync(file, "utf8")) * 1_000;
  }
  return TrueDate.now() + offset;
}

globalThis.Date = new Proxy(TrueDate, {
  apply: () => new TrueDate(now()).toString(),
  construct: (target, given: unknown[], asked) => Reflect.construct(target, given.length > 0 ? given : [now()], asked),
  get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
});
