import { Command } from "commander";
import { type ChainOptions, count, openAmount, withChainOptions } from "./chain/chain-session.ts";

export interface InitOptions extends ChainOptions {
  config: string;
  model?: string;
  redis?: string;
  operator?: number;
  register: boolean;
  endpoint?: string;
  bond?: bigint;
}

/** `openledger init`: a folder from which a node can be started. */
export function initCommand(): Command {
  return withChainOptions(new Command("init"))
    .description("Write the settings of a node, after looking whether chain, contracts and model are there.")
    .option("--config <file>", "file to write; never over another", "openledger.json")
    .option(
      "--model <path>",
      "folder of the base model, org/name[@revision] on the Hugging Face hub, or address of a server (default: the model that comes with this program)",
    )
    .option("--redis <url>", "Redis of the queue (default: REDIS_URL when the node starts, or this machine's)")
    .option("--operator <id>", "number of an operator that is registered", count)
    .option("--register", "register an operator whose owner and signer is the wallet", false)
    .option("--endpoint <url>", "with --register: where clients will find the node")
    .option("--bond <open>", "put up so much OPEN as bond", openAmount)
    .action(async (options: InitOptions) => (await import("./node/init.ts")).initNode(options));
}
