import { Command } from "commander";
import { type ChainOptions, count, hexAddress, openAmount, withChainOptions } from "./chain/chain-session.ts";

/** `openledger channel ...`: OPEN set aside for one operator, against which a session key signs. */
export function channelCommand(): Command {
  const channel = new Command("channel").description("OPEN set aside for one operator, spent by signed vouchers.");
  withChainOptions(channel.command("open"))
    .description("Open a channel; its session key is made and kept encrypted, unless you name one.")
    .requiredOption("--operator <id>", "operator that will serve", count)
    .requiredOption("--amount <open>", "first deposit in OPEN", openAmount)
    .option("--session-key <address>", "address whose signature vouchers need", hexAddress)
    .action(async (options) => (await import("./chain/channel.ts")).openChannel(options));
  withChainOptions(channel.command("fund"))
    .description("Add OPEN to a channel.")
    .argument("<channel>", "its number", count)
    .argument("<open>", "amount of OPEN", openAmount)
    .action(async (id: number, amount: bigint, options: ChainOptions) =>
      (await import("./chain/channel.ts")).fundChannel(id, amount, options),
    );
  withChainOptions(channel.command("close"))
    .description("Take back what is not spent: the first call announces it, the second, after the thaw, withdraws.")
    .argument("<channel>", "its number", count)
    .action(async (id: number, options: ChainOptions) =>
      (await import("./chain/channel.ts")).closeChannel(id, options),
    );
  withChainOptions(channel.command("show"))
    .description("What a channel holds.")
    .argument("<channel>", "its number", count)
    .action(async (id: number, options: ChainOptions) => (await import("./chain/channel.ts")).showChannel(id, options));
  return channel;
}
