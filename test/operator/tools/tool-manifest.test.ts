import assert from "node:assert/strict";
import { test } from "node:test";
import { mayBeCalls, readToolCalls } from "../../../operator/tools/tool-calls.ts";
import { argumentsFor, readToolManifest } from "../../../operator/tools/tool-manifest.ts";

const manifest = {
  name: "gauge",
  description: "Levels of rivers",
  transport: "http",
  tool: "level",
  call: { when: "before", arguments: { query: "{{question}}" } },
};
const read = (value: unknown) => readToolManifest(Buffer.from(JSON.stringify(value)));

test("a manifest is read as it was registered, and one with a mistake is refused by name", () => {
  assert.deepEqual(read(manifest), manifest);
  assert.throws(() => read({ ...manifest, name: "<|user|>" }), /name/);
  assert.throws(() => read({ ...manifest, call: { when: "always" } }), /call/);
  assert.throws(() => read({ ...manifest, transport: "stdio" }), /no command/);
  assert.throws(() => read({ ...manifest, extra: 1 }), /malformed|extra|key/i);
  assert.throws(() => readToolManifest(Uint8Array.of(0xff)), { code: "malformed" });
});

test("the question stands wherever the arguments name it, whatever is in it", () => {
  const given = { query: "Q: {{question}}", deep: [{ again: "{{question}}{{question}}" }], count: 3 };
  assert.deepEqual(argumentsFor("$& {{x}}", given), {
    query: "Q: $& {{x}}",
    deep: [{ again: "$& {{x}}$& {{x}}" }],
    count: 3,
  });
});

test("an answer made of calls is read, anything else is an answer", () => {
  const call = '<tool_call>\n{"name": "gauge", "arguments": {"query": "x"}}\n</tool_call>';
  const wanted = { name: "gauge", arguments: { query: "x" } };
  assert.deepEqual(readToolCalls(call), [wanted]);
  assert.deepEqual(readToolCalls(`<think>hm</think>\n${call}\n${call}`), [wanted, wanted]);
  assert.deepEqual(readToolCalls(call.replace("</tool_call>", "")), [wanted]);
  for (const text of [
    "",
    "The level is 4.",
    `Look: ${call}`,
    `${call} so.`,
    "<tool_call>{</tool_call>",
    "<tool_call>[]",
  ]) {
    assert.equal(readToolCalls(text), undefined, text);
  }
});

test("what may yet become a call is not shown", () => {
  for (const text of ["", " <", "<tool_c", "<tool_call>{", "<think>"]) assert.ok(mayBeCalls(text), text);
  for (const text of ["The", "<b>", "<tool_x", "4"]) assert.ok(!mayBeCalls(text), text);
});
