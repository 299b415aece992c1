import { payingFetch } from "../../payments/paying-fetch.ts";
import { note } from "../chain/chain-session.ts";
import { interruptible } from "../interrupt.ts";
import { openPayer } from "./open-payer.ts";
import { outcomeLine } from "./outcome-lines.ts";
import type { PayerOptions } from "./payer-options.ts";
import { serveProxy } from "./proxy-server.ts";

export interface ProxyCommandOptions extends PayerOptions {
  port: number;
  key?: string;
  json: boolean;
}

/** `openledger proxy` */
export async function proxy(options: ProxyCommandOptions): Promise<void> {
  const ledger = await openPayer(options);
  try {
    const { operatorUrl, port, key, maxPrice, maxTotal, json } = options;
    const pay = payingFetch({
      ledger,
      maxPricePerRequest: maxPrice,
      maxTotal,
      onOutcome: (paid) => {
        const { jobId, model, outcome } = paid;
        const price = outcome.state === "completed" ? outcome.charge.price : 0n;
        if (json) console.log(JSON.stringify({ job: jobId, model, state: outcome.state, price: String(price) }));
        else console.log(outcomeLine(paid, ledger.balance()));
      },
    });
    const server = await serveProxy({ operatorUrl, pay, port, key });
    note(`Paying from channel ${ledger.channel}: ${server.url}/v1 is an OpenAI-compatible address.`);
    if (key === undefined) note("Every process on this machine may spend from it: --key keeps others out.");
    await interruptible((signal) => new Promise<void>((end) => signal.addEventListener("abort", () => end())));
    await server.close();
  } finally {
    ledger.close();
  }
}
