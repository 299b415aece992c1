import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** What becomes of a call: `lost` is carried out and never answered, `refused` is neither. */
export type CallFate = "answered" | "lost" | "refused";

/** The way of nodes to a chain, on which calls and answers get lost as a test wants it. */
export class RpcDoor {
  /** Asked for each request, which may have several calls. May wait. */
  fate: (methods: readonly string[]) => CallFate | Promise<CallFate> = () => "answered";
  /** Told once a call was carried out whose answer will be lost. */
  onLost: (methods: readonly string[]) => void = () => {};
  lost = 0;
  readonly #target: string;
  readonly #server: Server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const asked = JSON.parse(body.toString()) as { method: string } | { method: string }[];
    const methods = [asked].flat().map(({ method }) => method);
    const fate = await this.fate(methods);
    if (fate === "refused") return void request.socket.destroy();
    const headers = { "content-type": "application/json" };
    try {
      const answer = await (await fetch(this.#target, { method: "POST", headers, body })).text();
      if (fate === "answered") return void response.writeHead(200, headers).end(answer);
      this.lost++;
      this.onLost(methods);
    } catch {
      // The chain has ended.
    }
    request.socket.destroy();
  });

  private constructor(target: string) {
    this.#target = target;
  }

  static async open(target: string): Promise<RpcDoor> {
    const door = new RpcDoor(target);
    await new Promise<void>((listening) => door.#server.listen(0, "127.0.0.1", listening));
    return door;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
