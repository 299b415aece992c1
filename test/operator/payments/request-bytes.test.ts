import assert from "node:assert/strict";
import { test } from "node:test";
import { requestBytes } from "../../../operator/payments/request-bytes.ts";

const path = "/v1/chat/completions";
const text = (body: unknown) => new TextDecoder().decode(requestBytes(path, body));

test("a request has the same bytes however its JSON was ordered and spaced", () => {
  const one = JSON.parse('{"model":"rivers","messages":[{"role":"user","content":"é"}],"temperature":1.0}');
  const other = JSON.parse('{ "temperature": 1,\n"messages":[{"content":"\\u00e9","role":"user"}], "model":"rivers" }');
  assert.deepEqual(requestBytes(path, one), requestBytes(path, other));
  const expected =
    '{"body":{"messages":[{"content":"é","role":"user"}],"model":"rivers","temperature":1},' +
    '"path":"/v1/chat/completions"}';
  assert.equal(text(one), expected);
});

test("another path or another body has other bytes", () => {
  assert.notDeepEqual(requestBytes("/v1/completions", { n: 1 }), requestBytes(path, { n: 1 }));
  assert.notDeepEqual(requestBytes(path, { n: 1 }), requestBytes(path, { n: 2 }));
});

test("what has no canonical form is refused, however deep it lies", () => {
  assert.throws(() => requestBytes(path, { n: Number.NaN }), TypeError);
  assert.throws(() => requestBytes(path, JSON.parse('{"a":"\\ud800"}')), TypeError);
  const nested = (depth: number) => JSON.parse(`${"[".repeat(depth)}${"]".repeat(depth)}`);
  assert.ok(requestBytes(path, nested(100)).length > 200);
  assert.throws(() => requestBytes(path, nested(101)), TypeError);
  assert.throws(() => requestBytes(path, nested(1_000_000)), TypeError);
});
