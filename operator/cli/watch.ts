import { Command } from "commander";
import { type ChainOptions, count, withChainOptions } from "./chain/chain-session.ts";

export interface WatchOptions extends ChainOptions {
  data: string[];
  prove: boolean;
  once: boolean;
  all: boolean;
  interval: number;
  finality?: number;
}

/** `openledger watch`: replays every batch of every operator. */
export function watchCommand(): Command {
  return withChainOptions(new Command("watch"))
    .description("Replay every batch of every operator. Exit code 3 when one lies.")
    .option(
      "--data <address>",
      "folder or archive of published data, beside the operators' own; several times",
      texts,
      [],
    )
    .option("--prove", "prove lies and demand what is withheld, signed by the wallet", false)
    .option("--once", "one round, then end", false)
    .option("--all", "replay from the first batch, also what is final and can be proven no more", false)
    .option("--interval <seconds>", "between two rounds", count, 60)
    .option(
      "--finality <blocks>",
      "blocks after which the chain is believed (default: what the node calls final)",
      whole,
    )
    .action(async (options: WatchOptions) => (await import("./node/watch.ts")).watch(options));
}

export function texts(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

export function whole(text: string): number {
  return text === "0" ? 0 : count(text);
}
