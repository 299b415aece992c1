import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ModelFormatError } from "../../../../operator/engine/model/format-error.ts";
import { readTokenizer } from "../../../../operator/engine/model/tokenizer.ts";
import { seededRandom, temporaryFolder } from "../reference/random-model.ts";

const TOKENS = ["<unk>", "<s>", "</s>", "hello", "world", "user", "assistant", "?"];

const TOKENIZER = {
  version: "1.0",
  added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  },
  decoder: null,
  model: { type: "WordLevel", vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])), unk_token: "<unk>" },
};
const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %} {{ m.role }} {{ m.content }}{% endfor %}{% if add_generation_prompt %} assistant{% endif %}";
const CONFIG = { bos_token: "<s>", eos_token: { content: "</s>" }, chat_template: TEMPLATE };

function folderWith(files: Record<string, unknown>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

const whole = () => folderWith({ "tokenizer.json": TOKENIZER, "tokenizer_config.json": CONFIG });

test("text becomes tokens with the model's start token unless that is switched off, and back", () => {
  const tokenizer = readTokenizer(whole(), TOKENS.length);
  assert.deepEqual(tokenizer.encode("hello world"), [1, 3, 4]);
  assert.deepEqual(tokenizer.encode("hello world", { special: false }), [3, 4]);
  assert.equal(tokenizer.decode([1, 3, 4, 2]), "hello world");
  assert.equal(tokenizer.decode([1, 3], { keepSpecial: true }), "<s> hello");
  assert.equal(tokenizer.decode([]), "");
  assert.deepEqual([...tokenizer.specialIds], [0, 1, 2]);
});

test("messages go through the chat template of either file, with its special tokens", () => {
  const messages = [{ role: "user", content: "hello ?" }];
  const fromConfig = readTokenizer(whole(), TOKENS.length);
  assert.equal(fromConfig.applyTemplate(messages), "<s> user hello ? assistant");
  assert.deepEqual(fromConfig.encode("<s> user hello ? assistant", { special: false }), [1, 5, 3, 7, 6]);
  const files = {
    "tokenizer.json": TOKENIZER,
    "tokenizer_config.json": CONFIG,
    "chat_template.jinja": "{{ eos_token }}!",
  };
  assert.equal(readTokenizer(folderWith(files), TOKENS.length).applyTemplate(messages), "</s>!");
  const named = {
    ...CONFIG,
    chat_template: [
      { name: "tool_use", template: "x" },
      { name: "default", template: "y" },
    ],
  };
  const several = folderWith({ "tokenizer.json": TOKENIZER, "tokenizer_config.json": named });
  assert.equal(readTokenizer(several, TOKENS.length).applyTemplate(messages), "y");
});

test("a template that refuses, is missing or is broken is an error that says so", () => {
  const tokenizer = readTokenizer(whole(), TOKENS.length);
  const system = [{ role: "system", content: "x" }];
  assert.throws(() => tokenizer.applyTemplate(system), /the chat template refused the messages: no system/);
  const bare = readTokenizer(folderWith({ "tokenizer.json": TOKENIZER }), TOKENS.length);
  assert.equal(bare.hasTemplate, false);
  assert.throws(() => bare.applyTemplate(system), /has no chat template/);
  const broken = { ...CONFIG, chat_template: "{% for %}" };
  const files = { "tokenizer.json": TOKENIZER, "tokenizer_config.json": broken };
  assert.throws(() => readTokenizer(folderWith(files), TOKENS.length), /chat template cannot be parsed/);
});

test("a tokenizer that is missing, broken or made for a larger model is refused", () => {
  const folder = whole();
  const small = readTokenizer(folder, 4);
  assert.throws(() => small.encode("world"), /gives token 4; the model has 4 tokens/);
  rmSync(join(folder, "tokenizer.json"));
  assert.throws(() => readTokenizer(folder, 8), /tokenizer.json: is missing/);
  for (const content of [
    "{",
    "[]",
    "{}",
    { model: {}, added_tokens: [] },
    { ...TOKENIZER, model: { type: "Magic" } },
  ]) {
    assert.throws(() => readTokenizer(folderWith({ "tokenizer.json": content }), 8), ModelFormatError);
  }
});

test("a thousand mutated tokenizers are understood or refused, and never crash", () => {
  const text = JSON.stringify(TOKENIZER);
  const random = seededRandom(17);
  const folder = temporaryFolder();
  for (let trial = 0; trial < 1000; trial++) {
    const at = Math.floor(random() * text.length);
    const cut = Math.floor(random() * 6);
    const piece = ["", "null", "[]", "-1", '"', "{}"][Math.floor(random() * 6)];
    writeFileSync(join(folder, "tokenizer.json"), text.slice(0, at) + piece + text.slice(at + cut));
    try {
      const ids = readTokenizer(folder, TOKENS.length).encode("hello world");
      assert.ok(ids.every((id) => id >= 0 && id < TOKENS.length));
    } catch (error) {
      assert.ok(error instanceof ModelFormatError, `trial ${trial}: ${error instanceof Error ? error.stack : error}`);
    }
  }
});
