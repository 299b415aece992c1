import { Command } from "commander";
import { type ChainOptions, count, openAmount, withChainOptions } from "./chain/chain-session.ts";

export interface WatchOptions extends ChainOptions {
  data: string[];
  prove: boolean;
  once: boolean;
  all: boolean;
  interval: number;
  finality?: number;
  /** Jobs to do again in a round; with it, the other options of samples. */
  sample?: number;
  model?: string;
  ledger: string[];
  sampleDays: number;
  evidence?: string;
  /** Answers to buy in a round; with it, the channel that pays. */
  buy?: number;
  channel?: number;
  sessionKeystore?: string;
  maxTotal?: bigint;
}

/** `openledger watch`: replays every batch of every operator. */
export function watchCommand(): Command {
  return withChainOptions(new Command("watch"))
    .description(
      "Replay every batch of every operator, and do paid jobs again. Exit code 3 when one is a lie or measured wrong.",
    )
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
    .option("--sample <n>", "do up to so many of your paid jobs again in each round, drawn at random", count)
    .option(
      "--model <folder>",
      "base model that does them again: its folder, or org/name[@revision] on the hub (default: the one that comes with this program)",
    )
    .option("--ledger <file>", "ledger of a channel; several times (default: all of this user's)", texts, [])
    .option("--sample-days <n>", "age in days from which a paid job is left alone", count, 7)
    .option("--evidence <folder>", "where to keep what shows a wrong answer (default: evidence, beside the wallet)")
    .option("--buy <n>", "buy so many answers in each round, to have jobs to do again", count)
    .option("--channel <id>", "number of the channel that pays for them", count)
    .option("--session-keystore <file>", "encrypted session key of the channel; or set OPENLEDGER_SESSION_KEY")
    .option("--max-total <open>", "most that may be collected from that channel in all, in OPEN", openAmount)
    .action(async (options: WatchOptions) => (await import("./node/watch.ts")).watch(options));
}

export function texts(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

export function whole(text: string): number {
  return text === "0" ? 0 : count(text);
}
