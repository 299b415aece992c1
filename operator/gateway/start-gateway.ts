import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createAdaptorServer } from "@hono/node-server";
import { createApp } from "./app.ts";
import { Gateway } from "./gateway.ts";
import type { GatewayOptions } from "./gateway-options.ts";

export interface RunningGateway {
  /** Where clients find it; OpenAI's clients take this with `/v1`. */
  url: string;
  /**
   * Takes nothing new, lets what is being answered end, and ends what is left after a while. Jobs that are cut off go
   * on: whoever sends the same voucher again gets their answer.
   *
   * @param patienceMs Milliseconds. Default 10,000.
   */
  close(patienceMs?: number): Promise<void>;
}

/** Serves the HTTP API: docs/http-api.md. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const gateway = new Gateway(options);
  const { limits } = gateway;
  const app = createApp(gateway);
  const server = createAdaptorServer({
    fetch: app.fetch,
    // What fetch gives must stay an instance of Response, for whoever else lives in this process.
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.min(1_000, limits.headersMs),
      keepAliveTimeout: 5_000,
    },
  }) as Server;
  server.maxConnections = limits.connections;
  server.listen(options.port ?? 0, options.host ?? "127.0.0.1");
  await once(server, "listening");
  const { address, port, family } = server.address() as AddressInfo;
  const host = family === "IPv6" ? `[${address}]` : address;
  return {
    url: `http://${host}:${port}`,
    close: async (patienceMs = 10_000) => {
      if (!server.listening) return;
      gateway.isDraining = true;
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      const timer = new AbortController();
      await Promise.race([closed, sleep(patienceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
      gateway.isCutting = true;
      server.closeAllConnections();
      await closed;
    },
  };
}
