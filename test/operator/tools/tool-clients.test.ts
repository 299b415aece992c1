import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { type RegisteredTool, ToolClients, type ToolSettings } from "../../../operator/tools/tool-clients.ts";
import { ToolError } from "../../../operator/tools/tool-error.ts";
import { serveGauge } from "./gauge-server.ts";

let gauge: Awaited<ReturnType<typeof serveGauge>>;
const opened: ToolClients[] = [];
const HASH: Hex = `0x${"ab".repeat(32)}`;

before(async () => {
  gauge = await serveGauge();
});
after(async () => {
  await Promise.all(opened.map((clients) => clients.close()));
  await gauge.close();
});

function clientsOf(settings: ToolSettings = {}): ToolClients {
  const clients = new ToolClients({ trustedEndpoints: [gauge.origin], ...settings });
  opened.push(clients);
  return clients;
}

function toolOf(tool: string, endpoint = gauge.endpoint): RegisteredTool {
  const call = { when: "before" as const, arguments: {} };
  return { hash: HASH, endpoint, manifest: { name: "gauge", description: "", transport: "http", tool, call } };
}

const COMMAND = [process.execPath, join(import.meta.dirname, "gauge-stdio.ts")];
const overStdio = (tool: string): RegisteredTool => {
  const { manifest, ...rest } = toolOf(tool, "stdio:gauge");
  return { ...rest, manifest: { ...manifest, transport: "stdio", command: COMMAND } };
};

const failsWith = (code: string) => (error: unknown) => {
  assert.ok(error instanceof ToolError, String(error));
  assert.equal(error.code, code, error.message);
  return true;
};

test("a tool is called over HTTP, and one connection serves many calls", async () => {
  const clients = clientsOf();
  const sessions = gauge.state.sessions;
  const said = await Promise.all(["a", "b", "c"].map((query) => clients.call(toolOf("level"), { query })));
  assert.equal(said[1], 'The level asked for by "b" is 4 metres.');
  await clients.call(toolOf("level"), { query: "d" });
  assert.equal(gauge.state.sessions, sessions + 1);
});

test("a tool is called over stdio where its manifest is allowed, and not elsewhere", async () => {
  const clients = clientsOf({ allowedCommands: [HASH] });
  assert.match(await clients.call(overStdio("level"), { query: "Velmor" }), /"Velmor" is 4 metres/);
  await assert.rejects(clientsOf().call(overStdio("level"), { query: "x" }), failsWith("refused"));
});

test("what a server says of a tool's arguments is told; a tool that it has not is an error", async () => {
  const schema = (await clientsOf().schema(toolOf("level"))) as { properties: object };
  assert.deepEqual(Object.keys(schema.properties), ["query"]);
  await assert.rejects(clientsOf().schema(toolOf("absent")), failsWith("failed"));
});

test("private addresses are not reached, neither by number nor by a name that leads there", async () => {
  const calls = gauge.state.calls;
  const untrusted = clientsOf({ trustedEndpoints: [] });
  await assert.rejects(untrusted.call(toolOf("level"), { query: "x" }), failsWith("refused"));
  const resolve = ((_host: string, options: { all?: boolean }, callback: (...args: unknown[]) => void) => {
    if (options.all) callback(null, [{ address: "127.0.0.1", family: 4 }]);
    else callback(null, "127.0.0.1", 4);
  }) as never;
  const { port } = new URL(gauge.endpoint);
  const named = clientsOf({ trustedEndpoints: [], resolve });
  await assert.rejects(named.call(toolOf("level", `http://tool.example:${port}/mcp`), {}), failsWith("refused"));
  // Trust is in an origin, not in whatever begins with its letters.
  const near = clientsOf({ trustedEndpoints: [gauge.origin.slice(0, -2)] });
  await assert.rejects(near.call(toolOf("level"), { query: "x" }), failsWith("refused"));
  assert.equal(gauge.state.calls, calls);
});

test("a trusted server cannot send the operator on to an address that is not", async () => {
  const calls = gauge.state.calls;
  const server = createServer((_request, response) => {
    response.writeHead(307, { location: gauge.endpoint }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const clients = clientsOf({ trustedEndpoints: [origin] });
    await assert.rejects(clients.call(toolOf("level", `${origin}mcp`), { query: "x" }), ToolError);
    assert.equal(gauge.state.calls, calls);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

for (const [how, toolFor] of [
  ["HTTP", toolOf],
  ["stdio", overStdio],
] as const) {
  test(`tools that fail, answer without end or never answer are given up (${how})`, async () => {
    const settings = { allowedCommands: [HASH], maxBytes: 64 * 1024 };
    await assert.rejects(clientsOf(settings).call(toolFor("broken"), { query: "x" }), failsWith("failed"));
    const endless = clientsOf(settings).call(toolFor("endless"), { query: "x" });
    // A stdio server that sends too much is cut off by the protocol's own reader.
    await assert.rejects(endless, failsWith(how === "HTTP" ? "too_large" : "failed"));
    const patient = clientsOf({ ...settings, timeout: 3_000 });
    await patient.call(toolFor("level"), { query: "x" });
    await assert.rejects(patient.call(toolFor("slow"), { query: "x" }), failsWith("timeout"));
    assert.match(await patient.call(toolFor("level"), { query: "again" }), /again/, "others are served afterwards");
  });
}

test("no server makes this process match its own text against its own patterns", async () => {
  const pattern = "^(a+)+$";
  const tool = {
    name: "level",
    inputSchema: { type: "object" },
    outputSchema: { type: "object", properties: { a: { type: "string", pattern } } },
  };
  const answers: Record<string, object> = {
    initialize: {
      protocolVersion: "2025-06-18",
      capabilities: { tools: {} },
      serverInfo: { name: "evil", version: "1" },
    },
    "tools/list": { tools: [tool] },
    "tools/call": { content: [{ type: "text", text: "4 metres" }], structuredContent: { a: "aaaa!" } },
  };
  const server = createServer(async (request, response) => {
    const { id, method } = JSON.parse((await request.setEncoding("utf8").toArray()).join("") || "{}");
    if (answers[method] === undefined) return response.writeHead(request.method === "GET" ? 405 : 202).end();
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ jsonrpc: "2.0", id, result: answers[method] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const clients = clientsOf({ trustedEndpoints: [origin] });
    await clients.schema(toolOf("level", `${origin}mcp`));
    assert.equal(await clients.call(toolOf("level", `${origin}mcp`), { query: "x" }), "4 metres");
    await clients.close();
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("whoever leaves is not kept waiting for a tool", async () => {
  const controller = new AbortController();
  const waiting = clientsOf().call(toolOf("slow"), { query: "x" }, controller.signal);
  setImmediate(() => controller.abort(new Error("left")));
  await assert.rejects(waiting, /left/);
});

test("a server that is not there is an error like any other", async () => {
  const gone = toolOf("level", "http://127.0.0.1:1/mcp");
  await assert.rejects(clientsOf({ trustedEndpoints: ["http://127.0.0.1:1/"] }).call(gone, {}), failsWith("failed"));
});
