import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { z } from "zod";

/** An MCP server with a tool for every way in which a tool can behave. */
export function gauge(): McpServer {
  const server = new McpServer({ name: "gauge", version: "1" });
  const argument = { inputSchema: { query: z.string() } };
  const text = (value: string) => ({ content: [{ type: "text" as const, text: value }] });
  server.registerTool("level", argument, ({ query }) => text(`The level asked for by "${query}" is 4 metres.`));
  server.registerTool("broken", argument, () => ({ ...text("out of order"), isError: true }));
  server.registerTool("endless", argument, () => text("water ".repeat(200_000)));
  server.registerTool("slow", argument, () => new Promise<never>(() => {}));
  return server;
}

/** Serves it over HTTP on this machine. `sessions` counts the connections made. */
export async function serveGauge() {
  const state = { sessions: 0, calls: 0 };
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
    if (body?.method === "tools/call") state.calls += 1;
    const known = transports.get(String(request.headers["mcp-session-id"]));
    if (known) return known.handleRequest(request, response, body);
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => `session-${++state.sessions}`,
      onsessioninitialized: (id) => void transports.set(id, transport),
    });
    await gauge().connect(transport as unknown as Transport);
    await transport.handleRequest(request, response, body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    state,
    origin: `http://127.0.0.1:${port}/`,
    endpoint: `http://127.0.0.1:${port}/mcp`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
