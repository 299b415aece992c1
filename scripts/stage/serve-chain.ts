import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Stage } from "./stage.ts";

type Call = { id: number; method: string; params?: unknown[] };

const CORS = { "access-control-allow-origin": "*", "access-control-allow-headers": "content-type" };

/**
 * Lets other processes, and wallets in a browser, talk to a chain in this one, over JSON-RPC on 127.0.0.1.
 *
 * @param port any free one unless given
 */
export async function serveChain(stage: Stage, port = 0): Promise<{ url: string; close: () => void }> {
  const answer = async ({ id, method, params }: Call) => {
    try {
      return { jsonrpc: "2.0", id, result: await stage.connection.provider.request({ method, params: params ?? [] }) };
    } catch (error) {
      const { code = -32_000, message, data } = error as Error & { code?: number; data?: unknown };
      return { jsonrpc: "2.0", id, error: { code, message, data } };
    }
  };
  const server = createServer(async (request, response) => {
    if (request.method !== "POST") return void response.writeHead(204, CORS).end();
    const asked = JSON.parse(Buffer.concat(await request.toArray()).toString());
    const answers = Array.isArray(asked) ? await Promise.all(asked.map(answer)) : await answer(asked);
    response.writeHead(200, { "content-type": "application/json", ...CORS }).end(JSON.stringify(answers));
  });
  await new Promise<void>((listening, failed) => {
    server.once("error", failed).listen(port, "127.0.0.1", listening);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
