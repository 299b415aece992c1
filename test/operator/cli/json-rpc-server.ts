import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Stage } from "../../../scripts/stage/stage.ts";

/** Lets other processes talk to a chain in this one, over JSON-RPC. */
export async function serveChain(stage: Stage): Promise<{ url: string; close: () => void }> {
  type Call = { id: number; method: string; params?: unknown[] };
  const answer = async ({ id, method, params }: Call) => {
    try {
      return { jsonrpc: "2.0", id, result: await stage.connection.provider.request({ method, params: params ?? [] }) };
    } catch (error) {
      const { code = -32_000, message, data } = error as Error & { code?: number; data?: unknown };
      return { jsonrpc: "2.0", id, error: { code, message, data } };
    }
  };
  const server = createServer(async (request, response) => {
    const asked = JSON.parse(Buffer.concat(await request.toArray()).toString());
    const answers = Array.isArray(asked) ? await Promise.all(asked.map(answer)) : await answer(asked);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answers));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
