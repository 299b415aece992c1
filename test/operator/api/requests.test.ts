import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { answerBytes, readAnswer } from "../../../operator/api/answer-bytes.ts";
import { askedJobOf } from "../../../operator/api/asked-job.ts";
import { CHAT_PATH, COMPLETION_PATH, readInferenceRequest } from "../../../operator/api/inference-request.ts";
import { InvalidRequest } from "../../../operator/api/invalid-request.ts";
import { requestBytes } from "../../../operator/payments/request-bytes.ts";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";
import { ServingError } from "../../../operator/serving/served-job.ts";

const hello = { model: "tales", messages: [{ role: "user", content: "Hello" }] };
const chat = (more: object) => readInferenceRequest(CHAT_PATH, { ...hello, ...more });
const completion = (more: object) => readInferenceRequest(COMPLETION_PATH, { model: "tales", prompt: "Once", ...more });

function refusal(read: () => unknown): { param: string | null; code: string } {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof InvalidRequest, String(error));
    return { param: error.param, code: error.code };
  }
  return assert.fail("nothing was refused");
}

const jobOf = (path: string, body: unknown) => ({
  jobId: `0x${"ab".repeat(32)}` as Hex,
  request: requestBytes(path, body),
  voucher: {
    channel: 7,
    nonce: 1n,
    agent: 3,
    version: 2,
    requestHash: new Uint8Array(32),
    maxPrice: 55n,
    cap: 55n,
    expiry: 9n,
    signature: new Uint8Array(65),
  },
});

const served: ServedAnswer = {
  text: "Good day",
  end: "stop",
  promptTokens: 4,
  completionTokens: 2,
  context: [],
  training: [],
  tools: [],
  trace: new Uint8Array(),
  traceHash: "0x",
};

describe("a request of millions of entries", () => {
  // Each took seconds, of a request that nobody had paid for, while nobody else was answered.
  const many = (entry: unknown) => Array.from({ length: 300_000 }, () => entry);
  const floods: [string, () => unknown][] = [
    ["logit_bias", () => chat({ logit_bias: Object.fromEntries(many(0).map((_, i) => [`a${i}`, "x"])) })],
    [
      "response_format.json_schema.schema",
      () => {
        const schema = Object.fromEntries(many(0).map((_, i) => [`a${i}`, "x"]));
        return chat({ response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
      },
    ],
    ["messages", () => chat({ messages: many({}) })],
    ["messages[0].content", () => chat({ messages: [{ role: "user", content: many({ type: "text" }) }] })],
  ];
  for (const [param, read] of floods) {
    it(`in ${param} is refused by their number alone`, () => {
      assert.throws(read, (error) => error instanceof InvalidRequest && /300000 entries/.test(error.message));
      assert.equal(refusal(read).param, param);
    });
  }

  it("is told its first fault only", () => {
    const messages = Array.from({ length: 2_000 }, (_, i) => (i < 1_000 ? hello.messages[0] : {}));
    assert.equal(refusal(() => chat({ messages })).param, "messages[1000].role");
  });
});

describe("a request", () => {
  it("keeps every field that the engine understands", () => {
    const { asked, stream, includeUsage } = chat({
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -1,
      frequency_penalty: 2,
      logit_bias: { "42": -100 },
      seed: -5,
      max_tokens: 9,
      max_completion_tokens: 8,
      stop: "END",
      logprobs: true,
      top_logprobs: 3,
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "object" } } },
      stream: true,
      stream_options: { include_usage: true },
    });
    assert.deepEqual(asked, {
      prompt: { messages: [{ role: "user", content: "Hello" }] },
      sampling: {
        temperature: 0.5,
        topP: 0.9,
        topK: 40,
        minP: 0.1,
        repetitionPenalty: 1.1,
        presencePenalty: -1,
        frequencyPenalty: 2,
        logitBias: { "42": -100 },
        seed: -5,
      },
      maxTokens: 8,
      stop: ["END"],
      responseFormat: { type: "json_schema", schema: { type: "object" } },
      logprobs: 3,
    });
    assert.deepEqual([stream, includeUsage], [true, true]);
  });

  it("may give text in parts, instructions as developer, and null for what is not meant", () => {
    const { asked } = chat({
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          name: "Ada",
          content: [
            { type: "text", text: "Hel" },
            { type: "text", text: "lo" },
          ],
        },
      ],
      temperature: null,
      stop: null,
      tools: null,
      n: null,
      logprobs: null,
    });
    assert.deepEqual(asked, {
      prompt: {
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: "Hello", name: "Ada" },
        ],
      },
      sampling: {},
    });
  });

  it("may continue a text", () => {
    assert.deepEqual(completion({ logprobs: 2, stop: ["a", "b"] }).asked, {
      prompt: { text: "Once" },
      sampling: {},
      stop: ["a", "b"],
      logprobs: 2,
    });
    assert.deepEqual(completion({ prompt: ["Twice"] }).asked.prompt, { text: "Twice" });
  });

  it("may carry fields that nobody here knows, and empty forms of those that are refused", () => {
    const more = { store: true, service_tier: "auto", tools: [], tool_choice: "none", n: 1, modalities: ["text"] };
    assert.deepEqual(chat({ ...more, metadata: { a: "b" }, user: "u", reasoning_effort: "low" }).asked, chat({}).asked);
    assert.deepEqual(completion({ echo: false, best_of: 1, suffix: "" }).asked, completion({}).asked);
  });

  const unsupported: [string, () => unknown][] = [
    ["tools", () => chat({ tools: [{ type: "function", function: { name: "f" } }] })],
    ["functions", () => chat({ functions: [{ name: "f" }] })],
    ["tool_choice", () => chat({ tool_choice: "required" })],
    ["modalities", () => chat({ modalities: ["text", "audio"] })],
    ["audio", () => chat({ audio: { voice: "x", format: "wav" } })],
    ["n", () => chat({ n: 2 })],
    ["messages[0].role", () => chat({ messages: [{ role: "tool", content: "4", tool_call_id: "1" }] })],
    ["messages[0].tool_calls", () => chat({ messages: [{ role: "assistant", content: null, tool_calls: [{}] }] })],
    [
      "messages[0].content[1].type",
      () => chat({ messages: [{ role: "user", content: [{ type: "text", text: "see" }, { type: "image_url" }] }] }),
    ],
    ["echo", () => completion({ echo: true })],
    ["best_of", () => completion({ best_of: 3 })],
    ["suffix", () => completion({ suffix: "the end" })],
    ["guided_regex", () => completion({ guided_regex: "a+" })],
  ];
  for (const [param, read] of unsupported) {
    it(`is refused by name when ${param} would make it mean something else`, () => {
      assert.deepEqual(refusal(read), { param, code: "unsupported_parameter" });
    });
  }

  const invalid: [string | null, () => unknown][] = [
    [null, () => readInferenceRequest(CHAT_PATH, null)],
    [null, () => readInferenceRequest(CHAT_PATH, [])],
    ["messages", () => readInferenceRequest(CHAT_PATH, { model: "tales" })],
    ["messages", () => chat({ messages: [] })],
    ["messages", () => chat({ messages: Array.from({ length: 2_049 }, () => hello.messages[0]) })],
    ["messages[0].content", () => chat({ messages: [{ role: "user", content: 5 }] })],
    ["messages[0].content", () => chat({ messages: [{ role: "user", content: "x".repeat(4_194_305) }] })],
    ["messages[0].role", () => chat({ messages: [{ role: "wizard", content: "x" }] })],
    ["model", () => chat({ model: "" })],
    ["temperature", () => chat({ temperature: 2.1 })],
    ["top_p", () => chat({ top_p: 0 })],
    ["max_tokens", () => chat({ max_tokens: 0.5 })],
    ["top_logprobs", () => chat({ top_logprobs: 2 })],
    ["logit_bias.the", () => chat({ logit_bias: { the: 1 } })],
    ["stop", () => chat({ stop: Array.from({ length: 17 }, () => "x") })],
    ["seed", () => chat({ seed: 1.5 })],
    ["response_format.type", () => chat({ response_format: { type: "xml" } })],
    ["prompt", () => completion({ prompt: [1, 2, 3] })],
    ["logprobs", () => completion({ logprobs: 6 })],
  ];
  for (const [param, read] of invalid) {
    it(`is refused with the field named when ${param ?? "the body"} is wrong: ${read.toString().slice(6, 60)}`, () => {
      assert.equal(refusal(read).param, param);
    });
  }
});

describe("a job's request", () => {
  it("becomes what a worker serves", () => {
    assert.deepEqual(askedJobOf(jobOf(CHAT_PATH, hello)), {
      jobId: `0x${"ab".repeat(32)}`,
      agent: 3,
      version: 2,
      payer: "7",
      maxPrice: 55n,
      prompt: { messages: [{ role: "user", content: "Hello" }] },
      sampling: {},
    });
  });

  it("that cannot be read is given up, not tried again", () => {
    for (const request of [Uint8Array.of(0xff), new TextEncoder().encode("null"), requestBytes("/v1/images", hello)]) {
      const job = { ...jobOf(CHAT_PATH, hello), request };
      assert.throws(
        () => askedJobOf(job),
        (error: unknown) => error instanceof ServingError && error.code === "invalidRequest",
      );
    }
  });
});

describe("an answer's bytes", () => {
  it("are canonical and hold no id and no time", () => {
    const bytes = answerBytes(jobOf(CHAT_PATH, { ...hello, model: "tales@2" }), served);
    assert.equal(
      new TextDecoder().decode(bytes),
      '{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"Good day","refusal":null,"role":"assistant"}}],"model":"tales@2","object":"chat.completion","usage":{"completion_tokens":2,"prompt_tokens":4,"total_tokens":6}}',
    );
  });

  it("hold log-probabilities in the shape of their kind, with a number in the place of minus infinity", () => {
    const token = { token: "Good", bytes: [71], logprob: -0.5 };
    const logprobs = [{ ...token, top: [token, { ...token, token: "Bad", logprob: Number.NEGATIVE_INFINITY }] }];
    const answer = { ...served, logprobs };
    const [chatChoice] = readAnswer(answerBytes(jobOf(CHAT_PATH, hello), answer)).choices;
    assert.deepEqual(chatChoice.logprobs, {
      content: [{ ...token, top_logprobs: [token, { ...token, token: "Bad", logprob: -9_999 }] }],
      refusal: null,
    });
    const asked = jobOf(COMPLETION_PATH, { model: "tales", prompt: "Once" });
    const [textChoice] = readAnswer(answerBytes(asked, answer)).choices;
    assert.equal(textChoice.text, "Good day");
    assert.deepEqual(textChoice.logprobs, {
      tokens: ["Good"],
      token_logprobs: [-0.5],
      top_logprobs: [{ Good: -0.5, Bad: -9_999 }],
      text_offset: [0],
    });
  });

  it("say of an answer that its client left that it was cut", () => {
    const [choice] = readAnswer(answerBytes(jobOf(CHAT_PATH, hello), { ...served, end: "cancelled" })).choices;
    assert.equal(choice.finish_reason, "length");
  });
});
