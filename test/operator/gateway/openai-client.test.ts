import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
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

describe("the official openai client", () => {
  it("gets a chat completion with its attribution", async () => {
    const answer = await client().chat.completions.create(question("one two three"));
    assert.equal(answer.choices[0].message.content, "three two one");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.deepEqual(answer.usage, { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 });
    const { attribution } = answer as unknown as { attribution: Record<string, unknown> };
    assert.equal(answer.id, `chatcmpl-${String(attribution.job_id).slice(2)}`);
  });
});
