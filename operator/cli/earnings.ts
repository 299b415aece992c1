import { Command } from "commander";
import { type ChainOptions, count, withChainOptions } from "./chain/chain-session.ts";

/** What reading earnings takes beside a chain. */
export type EarningsOptions = ChainOptions & { data: string[]; operator?: number; id?: number[]; finality?: number };

/** `openledger earnings`: what ids have earned, by operators' final batches. */
export function earningsCommand(): Command {
  return withEarningsOptions(new Command("earnings"))
    .description("What your contributions have earned and not been paid, rebuilt from operators' published data.")
    .action(async (options) => (await import("./chain/earnings.ts")).showEarnings(options));
}

/** `openledger claim`: has it paid out. */
export function claimCommand(): Command {
  return withEarningsOptions(new Command("claim"))
    .description("Have your contributions' earnings paid to their payees.")
    .action(async (options) => (await import("./chain/earnings.ts")).claimEarnings(options));
}

function withEarningsOptions(command: Command): Command {
  return withChainOptions(command)
    .requiredOption(
      "--data <address>",
      "folder or address where operators publish; several times for several",
      texts,
      [],
    )
    .option("--operator <id>", "only what this operator owes (default: every operator)", count)
    .option("--id <id>", "only this id; several times for several (default: all that the wallet owns)", counts)
    .option(
      "--finality <blocks>",
      "blocks after which the chain is believed (default: what the node calls final)",
      whole,
    );
}

function texts(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

function counts(text: string, earlier: number[] = []): number[] {
  return [...earlier, count(text)];
}

function whole(text: string): number {
  return text === "0" ? 0 : count(text);
}
