import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { z } from "zod";
import { type Fact, plainSentence } from "../train/facts.ts";

/** A tool that somebody runs, on an MCP server of its own. */
export interface Gauge {
  origin: string;
  endpoint: string;
  calls: () => number;
  close(): Promise<void>;
}

/** What is registered of the tool: it is asked before every answer, with the question. */
export const GAUGE_MANIFEST = {
  name: "gauge",
  description: "Reads instruments: what they show now stands in no document.",
  transport: "http",
  tool: "reading",
  call: { when: "before", arguments: { query: "{{question}}" } },
};

/** Serves readings over MCP. Asked for a thing that it has no instrument at, it says that nothing has changed. */
export async function serveGauge(readings: readonly Fact[]): Promise<Gauge> {
  let calls = 0;
  const server = createServer(async (request, response) => {
    const text = Buffer.concat(await request.toArray()).toString();
    const body = text === "" ? undefined : JSON.parse(text);
    // Without sessions, each request has a server of its own.
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    const mcp = new McpServer({ name: "gauge", version: "1" });
    mcp.registerTool("reading", { inputSchema: { query: z.string() } }, ({ query }) => {
      calls += 1;
      const found = readings.filter(({ subject }) => query.includes(subject));
      const shown = found.length > 0 ? found.map(plainSentence).join(" ") : "No other changes were made this year.";
      return { content: [{ type: "text", text: shown }] };
    });
    response.on("close", () => void transport.close());
    await mcp.connect(transport as unknown as Transport);
    await transport.handleRequest(request, response, body);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    origin,
    endpoint: `${origin}mcp`,
    calls: () => calls,
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
