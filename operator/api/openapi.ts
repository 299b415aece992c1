import { z } from "zod";
import { ANSWER_SCHEMAS } from "./answer-schemas.ts";
import { CHAT_PATH, COMPLETION_PATH, chatRequest, completionRequest } from "./inference-request.ts";

type SchemaName = keyof typeof ANSWER_SCHEMAS | "ChatCompletionRequest" | "CompletionRequest";

const MEANINGS: Record<number, string> = {
  400: "The request is wrong; `param` names the field",
  402: "Not paid, or the voucher is refused; PAYMENT-REQUIRED has the terms and how the channel stands",
  403: "The salt is another, or the page's origin is not allowed",
  404: "There is no such thing here",
  409: "The job was given up before it was served; nothing was charged",
  410: "The answer was given long ago and is not kept any more",
  413: "The body is too large",
  429: "Too many requests of one channel; Retry-After says when to try again",
  503: "Not now; the same request may be sent again",
  504: "The answer takes long; the same voucher joins it again",
};

const ref = (name: SchemaName) => ({ $ref: `#/components/schemas/${name}` });
const json = (name: SchemaName) => ({ "application/json": { schema: ref(name) } });
const text = (description: string, type: string) => ({
  description,
  content: { [type]: { schema: { type: "string" } } },
});
const errors = (...statuses: number[]) =>
  Object.fromEntries(statuses.map((status) => [status, { description: MEANINGS[status], content: json("Error") }]));
const header = (name: string, description: string) => ({ name, in: "header", description, schema: { type: "string" } });
const parameter = (place: "path" | "query", name: string, description: string) => ({
  name,
  in: place,
  description,
  ...(place === "path" && { required: true }),
  schema: { type: "string" },
});
const answerHeader = (description: string) => ({ description, schema: { type: "string" } });

const CHANNEL_HEADER = header("x-openledger-channel", "Channel to pay from and the last receipt seen: `7;since=41`");

function asking(summary: string, request: SchemaName, answer: SchemaName, chunk: SchemaName) {
  return {
    post: {
      summary,
      parameters: [header("PAYMENT-SIGNATURE", "x402 v2 payment payload, base64 of JSON"), CHANNEL_HEADER],
      requestBody: { required: true, content: json(request) },
      responses: {
        200: {
          description: "The answer, whole or as server-sent events that end with `data: [DONE]`",
          headers: {
            "x-openledger-job": answerHeader("The job's id"),
            "PAYMENT-RESPONSE": answerHeader("What became of the payment; in a stream the member `payment` of its end"),
          },
          content: { ...json(answer), "text/event-stream": { schema: ref(chunk) } },
        },
        402: {
          description: MEANINGS[402],
          headers: { "PAYMENT-REQUIRED": answerHeader("x402 v2 terms, base64 of JSON") },
          content: json("Error"),
        },
        ...errors(400, 404, 409, 410, 413, 429, 503, 504),
      },
    },
  };
}

function reading(summary: string, answer: SchemaName, parameters: object[] = [], failures: number[] = []) {
  const responses = { 200: { description: summary, content: json(answer) }, ...errors(...failures) };
  return { get: { summary, ...(parameters.length > 0 && { parameters }), responses } };
}

const health = (summary: string) => {
  const { get } = reading(summary, "Health");
  return {
    get: { ...get, responses: { ...get.responses, 503: { description: "Not ready", content: json("Health") } } },
  };
};

const PATHS = {
  [CHAT_PATH]: asking("Ask an agent", "ChatCompletionRequest", "ChatCompletion", "ChatCompletionChunk"),
  [COMPLETION_PATH]: asking("Have a text continued", "CompletionRequest", "Completion", "Completion"),
  "/v1/models": reading("Agents that can be asked here, with their prices", "ModelList"),
  "/v1/models/{id}": reading("One agent", "Model", [parameter("path", "id", "`name` or `name@version`")], [404]),
  "/v1/jobs/{id}": reading(
    "A job with receipt, attribution and proof; with the request's salt also question, answer and trace",
    "Job",
    [parameter("path", "id", "The voucher's digest"), header("x-openledger-salt", "The request's salt")],
    [403, 404, 503],
  ),
  "/v1/channels/{id}": reading(
    "What a channel was charged, with receipts",
    "Channel",
    [parameter("path", "id", "The channel"), parameter("query", "since", "Position of the last receipt seen")],
    [400, 404, 503],
  ),
  "/v1/batches": reading(
    "Batches on the chain, the newest first",
    "BatchList",
    [parameter("query", "before", "Only heights below this")],
    [400],
  ),
  "/v1/batches/{height}": reading("A batch", "Batch", [parameter("path", "height", "From 1 on")], [404]),
  "/published/{name}": {
    get: {
      summary: "What is published of a batch",
      parameters: [parameter("path", "name", "The data's hash, 64 digits, and `.olbd`")],
      responses: {
        200: {
          description: "See docs/protocol.md, section 9",
          content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } },
        },
        ...errors(404),
      },
    },
  },
  "/health": health("Whether the node can answer, and what somebody has to look at"),
  "/health/ready": health("The same"),
  "/health/live": reading("Whether the process runs", "Live"),
  "/metrics": { get: { summary: "For Prometheus", responses: { 200: text("Families, version 0.0.4", "text/plain") } } },
  "/openapi.json": {
    get: {
      summary: "This document",
      responses: {
        200: { description: "OpenAPI 3.1", content: { "application/json": { schema: { type: "object" } } } },
      },
    },
  },
  "/mcp": {
    post: {
      summary: "The node as a server of the Model Context Protocol (streamable HTTP, without sessions)",
      requestBody: { required: true, content: { "application/json": { schema: { type: "object" } } } },
      responses: {
        200: { description: "JSON-RPC 2.0", content: { "application/json": { schema: { type: "object" } } } },
        202: { description: "A notification was taken" },
        ...errors(400, 403, 413, 503),
      },
    },
  },
};

/** The HTTP API as an OpenAPI 3.1 document, from the schemas that requests are read with. */
export function openApiDocument() {
  const schemaOf = (schema: z.ZodType, io: "input" | "output") => {
    const { $schema, ...rest } = z.toJSONSchema(schema, { io, reused: "inline" });
    return rest;
  };
  const answers = Object.entries(ANSWER_SCHEMAS).map(([name, schema]) => [name, schemaOf(schema, "input")]);
  return {
    openapi: "3.1.0",
    info: {
      title: "OpenLedger node",
      version: "1",
      description: "Agents that answer for OPEN and say who helped. OpenAI's shapes where OpenAI has them.",
      license: { name: "MIT", identifier: "MIT" },
    },
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    paths: PATHS,
    components: {
      schemas: {
        ChatCompletionRequest: schemaOf(chatRequest, "input"),
        CompletionRequest: schemaOf(completionRequest, "input"),
        ...Object.fromEntries(answers),
      },
    },
  };
}
