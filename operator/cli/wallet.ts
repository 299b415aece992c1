import { Command } from "commander";
import { type ChainOptions, withChainOptions } from "./chain/chain-session.ts";
import { defaultKeystore } from "./chain/wallet-file.ts";

/** `openledger wallet ...`: the key that registers, pays and claims. */
export function walletCommand(): Command {
  const wallet = new Command("wallet").description(
    "The key that registers, pays and claims: an encrypted file, or OPENLEDGER_PRIVATE_KEY.",
  );
  withKeystore(wallet.command("new"))
    .description("Make a key and write it encrypted; the password is asked for, or OPENLEDGER_PASSWORD.")
    .action(async (options) => (await import("./chain/wallet.ts")).newWallet(options));
  withKeystore(wallet.command("import"))
    .description("Write a key that you have, asked for unseen or from OPENLEDGER_PRIVATE_KEY, encrypted.")
    .action(async (options) => (await import("./chain/wallet.ts")).importWallet(options));
  withKeystore(wallet.command("address"))
    .description("Whose wallet it is.")
    .action(async (options) => (await import("./chain/wallet.ts")).showAddress(options));
  withChainOptions(wallet.command("balance"))
    .description("What it holds, in OPEN and in the chain's coin.")
    .action(async (options: ChainOptions) => (await import("./chain/wallet.ts")).showBalance(options));
  withChainOptions(wallet.command("drip"))
    .description("Take the day's OPEN from the faucet of a test network.")
    .action(async (options: ChainOptions) => (await import("./chain/wallet.ts")).drip(options));
  return wallet;
}

function withKeystore(command: Command): Command {
  return command
    .option("--keystore <file>", "encrypted wallet", defaultKeystore())
    .option("--json", "print one JSON object", false);
}
