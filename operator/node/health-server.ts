import { createServer, type ServerResponse } from "node:http";
import { renderPrometheus } from "../engine/metrics.ts";
import { listen, stopListening } from "../settlement/http/listening.ts";
import type { NodePart } from "./node-base.ts";
import { nodeReport } from "./node-report.ts";

/**
 * `/health/live`, `/health` and `/metrics` of a node without a gateway. Alarms do not make it unready: they are for
 * people.
 *
 * @returns Its address, and what closes it.
 */
export async function serveHealth(
  parts: readonly NodePart[],
  at: { host: string; port: number },
): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    tell(request.url ?? "/", response).catch(() => {
      // Whatever a report or a metric throws, the process that it is about goes on.
      if (response.headersSent) response.destroy();
      else answer(response, 500, JSON.stringify({ error: { message: "It cannot be told now." } }));
    });
  });
  const tell = async (path: string, response: ServerResponse): Promise<void> => {
    const [pathname] = path.split("?", 1);
    if (pathname === "/health/live") return answer(response, 200, JSON.stringify({ status: "live" }));
    if (pathname === "/health" || pathname === "/health/ready") {
      const { alarms, lastSettlement } = nodeReport(parts);
      const age = lastSettlement === undefined ? null : Math.max(0, Math.floor(Date.now() / 1_000) - lastSettlement);
      return answer(response, 200, JSON.stringify({ status: "ready", alarms, settlement_age_seconds: age }));
    }
    if (pathname === "/metrics") {
      const families = await Promise.all(parts.map(({ metrics }) => metrics?.().catch(() => []) ?? []));
      return answer(response, 200, renderPrometheus(families.flat()), "text/plain; version=0.0.4");
    }
    answer(response, 404, JSON.stringify({ error: { message: "Ask for /health, /health/live or /metrics." } }));
  };
  return { url: await listen(server, at), close: () => stopListening(server, "all") };
}

function answer(response: ServerResponse, status: number, body: string, type = "application/json"): void {
  response.writeHead(status, { "content-type": type }).end(body);
}
