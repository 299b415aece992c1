import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import type { CallToolResult } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { answerBody, answerText } from "../api/answer-body.ts";
import { readAnswer } from "../api/answer-bytes.ts";
import { CHAT_PATH } from "../api/inference-request.ts";
import { decodeChannelHeader } from "../payments/x402/channel-header.ts";
import { signedPaymentOf } from "../payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import { modelBody, servedAgents } from "./agents.ts";
import { failureOf } from "./answer-job.ts";
import { ApiError } from "./api-error.ts";
import type { GatewayContext } from "./app.ts";
import type { Gateway } from "./gateway.ts";
import { jobBody } from "./job-route.ts";
import { checkMembers, readJson } from "./read-json.ts";

/** Where x402 puts payment and outcome in calls of tools (its MCP transport, v2). */
const PAYMENT_META = "x402/payment";
const PAYMENT_RESPONSE_META = "x402/payment-response";
const MAX_PASSAGES = 20;
/**
 * Members of objects and entries of lists in one message, all together: what reads the messages of this protocol copies
 * each of them, and has a sentence for each that is wrong.
 */
const MAX_MEMBERS = 16_384;

const asking = z
  .looseObject({
    model: z.string().describe("Name of an agent, or name@version; see list_agents"),
    messages: z.array(z.looseObject({ role: z.string() })).describe("The conversation, as for chat completions"),
    payment: z
      .looseObject({})
      .optional()
      .describe(`An x402 payment payload; _meta["${PAYMENT_META}"] does as well. Without one the terms are given.`),
    channel: z.string().max(64).optional().describe("Channel to be paid from, for its statement: 7, or 7;since=41"),
  })
  .describe("The body of a chat completion: what the voucher is for is all but payment and channel");

/**
 * Answers one message of an MCP client (streamable HTTP, without sessions: each message stands alone, and any node
 * behind a load balancer may get it).
 *
 * @throws {ApiError} 403 for pages that nobody allowed; 400 or 413 for what is no message.
 */
export async function answerMcp(c: GatewayContext, gateway: Gateway): Promise<Response> {
  checkOrigin(c.req.header("origin"), gateway.options.cors ?? []);
  const exit = gateway.desk.slots.enter();
  const leave = new AbortController();
  const { outgoing } = c.env;
  const server = createMcpServer(gateway, leave.signal);
  outgoing.once("close", () => {
    exit();
    if (!outgoing.writableFinished) leave.abort(gateway.isCutting ? "closing" : "clientLeft");
    void server.close();
  });
  const parsedBody = await readJson(c.req.raw, gateway.limits.bodyBytes);
  checkMembers(parsedBody, MAX_MEMBERS);
  const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: true });
  await server.connect(transport);
  return transport.handleRequest(c.req.raw, { parsedBody });
}

/**
 * A page may give its own name this machine's address (DNS rebinding), and is then of the same origin as the node. The
 * protocol asks servers to look at the origin.
 */
function checkOrigin(origin: string | undefined, allowed: readonly string[]): void {
  if (origin === undefined || allowed.includes("*") || allowed.includes(origin)) return;
  throw new ApiError(403, `Pages of ${origin} may not use this node.`, { code: "origin_not_allowed" });
}

/** @param leave Fires when the client is gone. */
function createMcpServer(gateway: Gateway, leave: AbortSignal): McpServer {
  const { options } = gateway;
  const server = new McpServer({ name: "openledger", version: "1" });
  const readOnly = { readOnlyHint: true, openWorldHint: false };

  server.registerTool(
    "list_agents",
    {
      description: "Lists the agents of this node with their prices (wei of OPEN) and what they are made of.",
      annotations: readOnly,
    },
    () => told(gateway, () => ({ agents: servedAgents(options).map(modelBody) })),
  );

  server.registerTool(
    "show_job",
    {
      description:
        "Shows how a job stands: its receipt, who earned from it, and the proof that it is settled. With the request's salt also question, answer and trace.",
      inputSchema: { job_id: z.string(), salt: z.string().optional() },
      annotations: readOnly,
    },
    ({ job_id, salt }) => told(gateway, () => jobBody(job_id, salt, gateway)),
  );

  server.registerTool(
    "show_trace",
    {
      description:
        "Gives the trace of a job, from which its attribution can be measured again. Needs the request's salt.",
      inputSchema: { job_id: z.string(), salt: z.string() },
      annotations: readOnly,
    },
    ({ job_id, salt }) =>
      told(gateway, async () => {
        const job: { trace?: unknown } = await jobBody(job_id, salt, gateway);
        if (job.trace === undefined) throw new ApiError(404, "The job is not completed.", { code: "no_trace" });
        return { job_id, trace: job.trace };
      }),
  );

  const { searchDataNets } = options;
  if (searchDataNets) {
    server.registerTool(
      "search_datanets",
      {
        description: "Finds passages in the DataNets that this node has, with where they stand.",
        inputSchema: {
          query: z.string().min(1).max(4_096),
          data_nets: z.array(z.int().min(1)).max(64).optional().describe("Ids; all that are here unless given"),
          limit: z.int().min(1).max(MAX_PASSAGES).default(5),
        },
        annotations: readOnly,
      },
      ({ query, data_nets, limit }) =>
        told(gateway, async () => ({
          passages: await searchDataNets({ query, limit, ...(data_nets && { dataNets: data_nets }) }),
        })),
    );
  }

  server.registerTool(
    "ask_agent",
    { description: "Asks an agent; paid over x402. Without a payment it gives the terms.", inputSchema: asking },
    ({ payment, channel, ...body }, { _meta }) => ask(gateway, body, payment ?? _meta?.[PAYMENT_META], channel, leave),
  );
  return server;
}

async function ask(
  gateway: Gateway,
  body: object,
  payment: unknown,
  channel: string | undefined,
  leave: AbortSignal,
): Promise<CallToolResult> {
  const { desk, options } = gateway;
  try {
    if (channel !== undefined) decodeChannelHeader(channel);
    const asked = desk.read(CHAT_PATH, body, "mcp://tool/ask_agent");
    if (payment === undefined) throw await desk.payments.unpaid(asked, channel);
    const job = await desk.accept(asked, signedPaymentOf(payment, options.domain), { channel, leave });
    for await (const news of job.news) {
      if (news.kind !== "ended") continue;
      const _meta = { [PAYMENT_RESPONSE_META]: desk.payment(news.job) };
      if (news.job.state === "failed") return { ...errorResult(failureOf(news.job, options.domain.chainId)), _meta };
      const attribution = desk.receipts.attribution(news.job.receipt!);
      return {
        content: [{ type: "text", text: answerText(readAnswer(news.job.response!)) }],
        structuredContent: { ...answerBody(news.job, { attribution }) },
        _meta,
      };
    }
    throw new ApiError(499, "The client has left.", { code: "client_left" });
  } catch (error) {
    return errorResult(gateway.errorOf(error));
  }
}

/** A tool's result from what a route would give. */
async function told(gateway: Gateway, tell: () => object | Promise<object>): Promise<CallToolResult> {
  try {
    const value = { ...(await tell()) };
    return { content: [{ type: "text", text: JSON.stringify(value) }], structuredContent: value };
  } catch (error) {
    return errorResult(gateway.errorOf(error));
  }
}

/** x402 wants the terms themselves as the result; every other error is told in OpenAI's shape. */
function errorResult(error: ApiError): CallToolResult {
  const required = error.headers[PAYMENT_HEADERS.required];
  const value: Record<string, unknown> =
    required === undefined ? error.body : JSON.parse(Buffer.from(required, "base64").toString("utf8"));
  return { isError: true, content: [{ type: "text", text: JSON.stringify(value) }], structuredContent: value };
}
