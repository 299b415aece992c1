import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";
import { MortalRedis } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

let redis: MortalRedis;
let node: TestNode;
before(async () => {
  redis = await MortalRedis.start();
  node = await TestNode.open(redis);
});
after(async () => {
  await node?.close();
  await redis?.stop();
});

const client = (pay: typeof fetch = node.pay()) =>
  new OpenAI({ baseURL: `${node.url}/v1`, apiKey: "none", fetch: pay, maxRetries: 0 });
const question = (content: string) => ({ model: node.model, messages: [{ role: "user" as const, content }] });

/** Amounts of an attribution that must sum to its price. */
// biome-ignore lint/suspicious/noExplicitAny: fields beyond the client's types
function amountsOf(attribution: any): bigint[] {
  const { treasury, operator, publisher, prompt, adapters, context, training, tools } = attribution;
  const parts = [publisher, prompt, ...adapters, ...context, ...training, ...tools].filter((part) => part !== null);
  return [treasury, operator, ...parts.map(({ amount }) => amount)].map(BigInt);
}

describe("the official openai client", () => {
  it("gets a chat completion that says to the wei where its price went", async () => {
    const answer = await client().chat.completions.create(question("one two three"));
    assert.equal(answer.choices[0].message.content, "three two one");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.deepEqual(answer.usage, { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 });
    const { attribution } = answer as unknown as { attribution: Record<string, never> };
    assert.equal(answer.id, `chatcmpl-${String(attribution.job_id).slice(2)}`);
    const { pricePerJob, pricePerPromptToken, pricePerCompletionToken } = node.world.registry.agentVersion(
      node.world.agents[0].agent,
      1,
    )!.composition;
    assert.equal(BigInt(attribution.price), pricePerJob + 3n * pricePerPromptToken + 3n * pricePerCompletionToken);
    assert.equal(
      amountsOf(attribution).reduce((sum, amount) => sum + amount, 0n),
      BigInt(attribution.price),
    );
    const context = attribution.context as unknown as { name: string; ppm: number; amount: string }[];
    assert.deepEqual(
      context.map(({ ppm }) => ppm),
      [600_000, 400_000],
    );
    assert.match(context[0].name, /^thing-\d+$/);
    assert.ok(BigInt(context[0].amount) > BigInt(context[1].amount));
  });

  it("streams a chat completion that ends with usage, attribution and payment", async () => {
    const chunks = [];
    const stream = await client().chat.completions.create({
      ...question("one two three"),
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    const texts = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "");
    assert.deepEqual(texts, ["", "three", " two", " one", "", ""]);
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(chunks.at(-2)!.choices[0].finish_reason, "stop");
    const last = chunks.at(-1) as unknown as Record<string, Record<string, unknown>>;
    assert.deepEqual(last.usage, { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 });
    assert.equal(last.payment.transaction, last.attribution.job_id);
    assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
  });

  it("gets log-probabilities, the same streamed and whole", async () => {
    const asked = { ...question("one two"), logprobs: true, top_logprobs: 1 };
    const whole = await client().chat.completions.create(asked);
    const streamed = [];
    for await (const chunk of await client().chat.completions.create({ ...asked, stream: true })) {
      streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    }
    assert.equal(whole.choices[0].logprobs?.content?.length, 2);
    assert.deepEqual(streamed, whole.choices[0].logprobs?.content);
  });

  it("gets a text continued, whole and streamed", async () => {
    const asked = { model: node.model, prompt: "one two three", max_tokens: 2, logprobs: 1 };
    const whole = await client().completions.create(asked);
    assert.equal(whole.choices[0].text, "three two");
    assert.equal(whole.choices[0].finish_reason, "length");
    assert.deepEqual(whole.choices[0].logprobs?.text_offset, [0, 5]);
    let text = "";
    for await (const chunk of await client().completions.create({ ...asked, stream: true })) {
      text += chunk.choices[0].text;
    }
    assert.equal(text, "three two");
  });

  it("lists and retrieves agents as models, with prices", async () => {
    const models = await client().models.list();
    assert.equal(models.data.length, node.world.registry.agents.size);
    const name = node.model.split("@")[0];
    const newest = await client().models.retrieve(name);
    assert.equal(newest.id, name);
    const pinned = (await client().models.retrieve(node.model)) as unknown as { openledger: Record<string, unknown> };
    assert.deepEqual(pinned.openledger.price, {
      job: "1000000000000000",
      prompt_token: "1000000000000",
      completion_token: "3000000000000",
    });
  });

  it("throws its own kinds of errors, which name code and field", async () => {
    const openai = client();
    const thrown = async (asked: object) => {
      const error = await openai.chat.completions.create(asked as never).then(
        () => assert.fail("nothing was thrown"),
        (error) => error,
      );
      assert.ok(error instanceof OpenAI.APIError, String(error));
      return error;
    };
    const wrong = await thrown({ ...question("x"), temperature: 9 });
    assert.ok(wrong instanceof OpenAI.BadRequestError, String(wrong));
    assert.deepEqual([wrong.param, wrong.type, wrong.code], ["temperature", "invalid_request_error", "invalid_value"]);
    const unsupported = await thrown({ ...question("x"), n: 2 });
    assert.deepEqual([unsupported.status, unsupported.param, unsupported.code], [400, "n", "unsupported_parameter"]);
    const unknown = await thrown({ ...question("x"), model: "nobody" });
    assert.ok(unknown instanceof OpenAI.NotFoundError);
    assert.equal(unknown.code, "model_not_found");
    const failed = await thrown(question("FAIL please"));
    assert.deepEqual([failed.status, failed.code], [400, "promptTooLong"]);
    assert.match(failed.message, /Nothing was charged/);
    assert.ok(failed.headers.get("x-openledger-job"));
    const streamed = await thrown({ ...question("FAIL please"), stream: true });
    assert.deepEqual([streamed.status, streamed.code], [400, "promptTooLong"]);
    const unpaid = await new OpenAI({ baseURL: `${node.url}/v1`, apiKey: "none", maxRetries: 0 }).chat.completions
      .create(question("x"))
      .catch((error) => error);
    assert.deepEqual([unpaid.status, unpaid.code, unpaid.type], [402, "payment_required", "payment_required"]);
  });
});

describe("the ai SDK over its openai-compatible provider", () => {
  const provider = () => createOpenAICompatible({ name: "node", baseURL: `${node.url}/v1`, fetch: node.pay() });

  it("generates text", async () => {
    const { text, usage, finishReason } = await generateText({
      model: provider()(node.model),
      prompt: "one two three",
    });
    assert.equal(text, "three two one");
    assert.deepEqual([usage.inputTokens, usage.outputTokens, finishReason], [3, 3, "stop"]);
  });

  it("streams text", async () => {
    const { textStream } = streamText({ model: provider()(node.model), prompt: "one two three" });
    const pieces: string[] = [];
    for await (const piece of textStream) pieces.push(piece);
    assert.deepEqual(
      pieces.filter((piece) => piece !== ""),
      ["three", " two", " one"],
    );
  });
});
