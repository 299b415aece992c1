import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * Begins to listen.
 *
 * @param at Port 0 for one that is free.
 * @returns Where the server is found.
 * @throws When the address is taken or not this machine's.
 */
export async function listen(server: Server, { host, port }: { host: string; port: number }): Promise<string> {
  server.listen(port, host);
  await once(server, "listening");
  const { port: bound } = server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${bound}`;
}

/**
 * Takes no new connections, and waits until the last one has ended.
 *
 * @param cut Which connections are ended at once: those that wait for a request, or also those that are being answered.
 */
export async function stopListening(server: Server, cut: "idle" | "all"): Promise<void> {
  const closed = once(server, "close");
  server.close();
  if (cut === "all") server.closeAllConnections();
  else server.closeIdleConnections();
  await closed;
}
