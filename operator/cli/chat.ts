import { Command } from "commander";
import { count } from "./chain/chain-session.ts";
import { withPayerOptions } from "./pay/payer-options.ts";

/** `openledger chat`: ask an agent, pay from a channel, and see who earned. */
export function chatCommand(): Command {
  return withPayerOptions(new Command("chat"))
    .description("Ask an agent and pay from a channel; without a message, a conversation.")
    .argument("[message]", "what to ask; - reads it from standard input")
    .requiredOption("--model <agent>", "name of the agent, or name@version")
    .option("--max-tokens <n>", "tokens to generate at most", count)
    .option("--json", "print one JSON object", false)
    .action(async (message, options) => (await import("./pay/chat.ts")).chat(message, options));
}
