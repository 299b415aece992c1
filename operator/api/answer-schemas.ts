import { z } from "zod";

const wei = z.string().regex(/^\d+$/).describe("Wei of OPEN, decimal");
const hex = z.string().regex(/^0x([0-9a-f]{2})*$/);
const hash = z.string().regex(/^0x[0-9a-f]{64}$/);
const seconds = z.int().min(0).describe("Seconds since 1970");
const natural = z.int().min(0);

const credited = z.object({ id: natural, name: z.string().optional(), amount: wei });
const creditedEntry = credited.extend({
  ppm: z.int().min(1).max(1_000_000).describe("Part of its pool in millionths"),
  via: natural,
  data_net: natural.optional(),
  adapter: natural.optional(),
});

/** Where the price of an answer went. Only `job_id` while the registries do not show the agent's version. */
const attribution = z
  .object({
    job_id: hash,
    agent: z.object({ id: natural, version: natural, name: z.string().optional() }),
    price: wei,
    prompt_tokens: natural,
    completion_tokens: natural,
    treasury: wei,
    operator: wei,
    publisher: credited.nullable(),
    adapters: z.array(credited.extend({ share_ppm: natural })),
    prompt: credited.nullable(),
    context: z.array(creditedEntry),
    training: z.array(creditedEntry),
    tools: z.array(creditedEntry),
    receipt: z.object({ position: natural, batch: natural, index: natural, channel: natural, charged: wei }),
  })
  .partial()
  .required({ job_id: true });

const payment = z
  .object({
    success: z.boolean(),
    transaction: hash.describe("The job's id"),
    network: z.string(),
    amount: z.string().optional(),
    errorReason: z.string().optional(),
    errorMessage: z.string().optional(),
    extra: z.record(z.string(), z.unknown()),
  })
  .describe("What became of the payment, as x402's settlement response");

const usage = z.object({ prompt_tokens: natural, completion_tokens: natural, total_tokens: natural });
const finishReason = z.enum(["stop", "length"]).describe("length also where the client left before the end");
const scored = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int().min(0).max(255)) });
const chatScores = z
  .object({ content: z.array(scored.extend({ top_logprobs: z.array(scored) })), refusal: z.null() })
  .nullable();
const completionScores = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())),
    text_offset: z.array(natural),
  })
  .nullable();
const frame = { id: z.string(), created: seconds, model: z.string() };
const chatMessage = z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() });
const closing = { attribution: attribution.optional(), payment: payment.optional() };

const receipt = z.object({
  position: natural,
  batch: natural,
  index: natural,
  completed: seconds,
  charged: wei,
  state_root: hash,
  body: hex,
  decoded: z.object({
    voucher: z.record(z.string(), z.unknown()),
    response_hash: hash,
    trace_hash: hash,
    prompt_tokens: natural,
    completion_tokens: natural,
    price: wei,
    context: z.array(z.object({ id: natural, ppm: natural, via: natural })),
    training: z.array(z.object({ id: natural, ppm: natural, via: natural })),
    tools: z.array(z.object({ id: natural, ppm: natural, via: natural })),
  }),
});

const batch = z.object({
  object: z.literal("openledger.batch"),
  state: z.enum(["sealed", "posted", "final"]),
  height: natural,
  sequence: natural,
  operator: natural,
  header_hash: hash,
  parent_hash: hash,
  registry_time: seconds,
  count: natural,
  receipts_root: hash,
  data_hash: hash,
  earners_root: hash,
  channels_root: hash,
  total_spent: wei,
  treasury_earned: wei,
  operator_earned: wei,
  submitted: seconds.optional(),
  data_url: z.string(),
});

const model = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: seconds,
  owned_by: z.string(),
  openledger: z.object({
    agent: natural,
    version: natural,
    base_model: hash,
    price: z.object({ job: wei, prompt_token: wei, completion_token: wei }),
    split: z.record(z.string(), natural),
    adapters: z.array(z.object({ id: natural, version: natural })),
    data_nets: z.array(z.object({ id: natural, version: natural })),
    tools: z.array(z.object({ id: natural, version: natural })),
    prompt: z.object({ id: natural, version: natural }).nullable(),
  }),
});

const check = z.object({ ok: z.boolean(), problem: z.string().optional() });

/** The bodies of answers, by their names in the OpenAPI document. */
export const ANSWER_SCHEMAS = {
  ChatCompletion: z.object({
    ...frame,
    object: z.literal("chat.completion"),
    choices: z
      .array(z.object({ index: natural, message: chatMessage, logprobs: chatScores, finish_reason: finishReason }))
      .length(1),
    usage,
    attribution,
  }),
  ChatCompletionChunk: z.object({
    ...frame,
    object: z.literal("chat.completion.chunk"),
    choices: z
      .array(
        z.object({
          index: natural,
          delta: z.object({ role: z.literal("assistant").optional(), content: z.string().optional() }),
          logprobs: chatScores,
          finish_reason: finishReason.nullable(),
        }),
      )
      .max(1),
    usage: usage.optional(),
    ...closing,
  }),
  Completion: z.object({
    ...frame,
    object: z.literal("text_completion"),
    choices: z
      .array(
        z.object({
          index: natural,
          text: z.string(),
          logprobs: completionScores,
          finish_reason: finishReason.nullable(),
        }),
      )
      .max(1),
    usage: usage.optional(),
    ...closing,
  }),
  Model: model,
  ModelList: z.object({ object: z.literal("list"), data: z.array(model) }),
  Job: z.object({
    id: hash,
    object: z.literal("openledger.job"),
    state: z.enum(["accepted", "completed", "failed"]),
    agent: z.object({ id: natural, version: natural }),
    channel: natural,
    created: seconds,
    reason: z.string().optional(),
    payment,
    receipt: receipt.optional(),
    attribution: attribution.optional(),
    proof: z
      .object({ batch, index: natural, siblings: z.array(hash) })
      .optional()
      .describe("Leads from the receipt's leaf to the batch's receipts root"),
    request: z.unknown().optional().describe("With the salt only"),
    answer: z.unknown().optional().describe("With the salt only"),
    trace: z.unknown().optional().describe("With the salt only"),
  }),
  Channel: z.object({
    id: natural,
    object: z.literal("openledger.channel"),
    charged: wei,
    reserved: wei,
    receipts: z.array(receipt.extend({ job_id: hash })).max(256),
  }),
  Batch: batch,
  BatchList: z.object({ object: z.literal("list"), data: z.array(batch), has_more: z.boolean() }),
  Health: z.object({
    status: z.enum(["ready", "not ready"]),
    checks: z.object({ mirror: check, sequencer: check, queue: check, gateway: check }),
    alarms: z.array(z.string()),
    settlement_age_seconds: z.number().min(0).nullable(),
  }),
  Live: z.object({ status: z.literal("live") }),
  Error: z.object({
    error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string() }),
  }),
} as const;
