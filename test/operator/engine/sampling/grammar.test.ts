import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { EngineError } from "../../../../operator/engine/engine-error.ts";
import type { GrammarSession } from "../../../../operator/engine/sampling/grammar.ts";
import { GrammarService } from "../../../../operator/engine/sampling/grammar-service.ts";
import { checkedSchema } from "../../../../operator/engine/sampling/json-schema-check.ts";

// Every printable character and a few longer pieces are tokens; token 0 ends the answer, token 1 is special.
const PIECES = [
  "",
  "",
  ..."\t\n",
  ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)),
  '{"',
  '":',
  "é",
  "true",
];
const tokens = { bytes: PIECES.map((piece) => new TextEncoder().encode(piece)), dropFirstSpace: false };
const service = (stopTokens: number[], compileMs?: number) =>
  new GrammarService({ vocabSize: PIECES.length, tokens, stopTokens, onChange: () => {}, compileMs });
const withEnd = service([0]);
after(() => withEnd.close());

async function ready(session: GrammarSession): Promise<void> {
  while (!session.ready && session.error === undefined) await pause(2);
}

/** Writes an answer by taking allowed tokens at random; ends it as soon as that is allowed after 300 tokens. */
async function write(session: GrammarSession, seed: number): Promise<string> {
  let state = seed;
  const draw = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  let text = "";
  for (let i = 0; i < 3000; i++) {
    await ready(session);
    if (session.error !== undefined) throw session.error;
    if (session.finished) return text;
    const mask = session.mask();
    const allowed = PIECES.map((_, id) => id).filter((id) => (mask[id >> 5] >>> (id & 31)) & 1);
    assert.ok(allowed.length > 0);
    assert.ok(!allowed.includes(1), "special tokens are never allowed");
    // Closing characters are preferred after a while, or random text would hardly ever end.
    const closing = allowed.filter((id) => id === 0 || ['"', "}", "]"].includes(PIECES[id]));
    const from = i > 60 && closing.length > 0 ? closing : allowed;
    const token = from[Math.floor(draw() * from.length)];
    if (token === 0) return text;
    text += PIECES[token];
    session.accept(token);
  }
  throw new Error(`no end: ${text}`);
}

const PERSON = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1 },
    age: { type: "integer" },
    tags: { type: "array", items: { enum: ["a", "b"] } },
  },
  required: ["name", "age", "tags"],
};

test("whatever is drawn under a schema's masks is JSON that the schema allows", async () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const session = withEnd.open(checkedSchema(PERSON), true);
    const value = JSON.parse(await write(session, seed));
    assert.deepEqual(Object.keys(value), ["name", "age", "tags"]);
    assert.ok(typeof value.name === "string" && value.name.length > 0);
    assert.ok(Number.isInteger(value.age));
    assert.ok(value.tags.every((tag: string) => tag === "a" || tag === "b"));
    session.close();
  }
});

test("an object without a schema may have any members", async () => {
  const session = withEnd.open(checkedSchema({ type: "object" }), false);
  for (const piece of ['{"', "q", '":', "[", "1", "]", "}"]) {
    await ready(session);
    session.accept(PIECES.indexOf(piece));
  }
  await ready(session);
  assert.equal(session.mask()[0] & 1, 1, "the answer may end here");
  session.close();
});

test("a model without an end token is told when the answer is complete", async () => {
  const endless = service([]);
  const session = endless.open(checkedSchema({ enum: ["ab"] }), true);
  for (const piece of ['"', "a", "b", '"']) {
    await ready(session);
    assert.equal(session.finished, false);
    session.accept(PIECES.indexOf(piece));
  }
  await ready(session);
  assert.equal(session.finished, true);
  await endless.close();
});

test("a schema that the compiler gives up on fails alone; the others are taken up where they were", async () => {
  const good = withEnd.open(checkedSchema({ enum: ["ab"] }), true);
  for (const piece of ['"', "a"]) {
    await ready(good);
    good.accept(PIECES.indexOf(piece));
  }
  const bad = withEnd.open('{"type": 12}', true);
  await ready(bad);
  assert.ok(bad.error instanceof EngineError && bad.error.code === "invalid_request");
  await ready(good);
  assert.equal(good.error, undefined);
  const mask = good.mask();
  const allowed = PIECES.filter((_, id) => (mask[id >> 5] >>> (id & 31)) & 1);
  assert.deepEqual(allowed, ["b"]);
  good.close();
});

test("a schema that takes too long to compile is given up", async () => {
  const impatient = service([0], 0);
  const session = impatient.open(checkedSchema(PERSON), true);
  await ready(session);
  assert.match(session.error!.message, /more than 0 ms/);
  await impatient.close();
});

test("what is no schema is refused with its place, before anything is compiled", () => {
  const bad: [unknown, RegExp][] = [
    [undefined, /no JSON value/],
    [12, /#.*neither an object/],
    [{ type: "strin" }, /#\/type.*"strin"/],
    [{ type: 12 }, /#\/type/],
    [{ properties: { a: { type: [], items: 3 } } }, /#\/properties\/a\/items/],
    [{ required: "a" }, /#\/required/],
    [{ enum: [] }, /#\/enum/],
    [{ anyOf: [] }, /#\/anyOf/],
    [{ $ref: "http://example.org/x" }, /#\/\$ref/],
    [{ pattern: "(" }, /#\/pattern/],
    [{ pattern: "a{1,99999}" }, /#\/pattern/],
    [{ maxLength: 1e9 }, /#\/maxLength/],
    [{ minItems: -1 }, /#\/minItems/],
    [{ const: "x".repeat(70_000) }, /65536/],
  ];
  for (const [schema, message] of bad) {
    assert.throws(
      () => checkedSchema(schema),
      (error: unknown) =>
        error instanceof EngineError && error.code === "invalid_request" && message.test(error.message),
    );
  }
  let deep: unknown = { type: "string" };
  for (let i = 0; i < 40; i++) deep = { type: "array", items: deep };
  assert.throws(() => checkedSchema(deep), /nested/);
  assert.equal(checkedSchema(PERSON), JSON.stringify(PERSON));
});
