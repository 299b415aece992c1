import { Command, InvalidArgumentError } from "commander";
import { withPayerOptions } from "./pay/payer-options.ts";

/** `openledger proxy`: a local address that any OpenAI client can use; what it asks is paid from a channel. */
export function proxyCommand(): Command {
  return withPayerOptions(new Command("proxy"))
    .description("Serve an OpenAI-compatible address on this machine that pays an operator from a channel.")
    .option("--port <n>", "port on 127.0.0.1", port, 8402)
    .option(
      "--key <text>",
      "API key that callers must give (or OPENLEDGER_PROXY_KEY)",
      process.env.OPENLEDGER_PROXY_KEY,
    )
    .option("--json", "print one JSON object for each job", false)
    .action(async (options) => (await import("./pay/proxy.ts")).proxy(options));
}

function port(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 65_535)
    throw new InvalidArgumentError("It must be a port, 0 for one that is free.");
  return value;
}
