import { type Command, InvalidArgumentError } from "commander";
import { count, openAmount } from "../chain/chain-session.ts";
import { whole } from "../watch.ts";

/** What every command takes that pays from a channel. */
export interface PayerOptions {
  operatorUrl: string;
  channel: number;
  keystore?: string;
  chain?: number;
  addresses?: string;
  maxPrice?: bigint;
  maxTotal?: bigint;
  keep?: number;
}

export function withPayerOptions(command: Command): Command {
  return command
    .requiredOption("--operator-url <url>", "where the operator answers, like https://operator.example", webAddress)
    .requiredOption("--channel <id>", "number of the channel that pays", count)
    .option("--keystore <file>", "encrypted session key of the channel; or set OPENLEDGER_SESSION_KEY")
    .option("--chain <id>", "chain of the channel (default: the one in the keystore's name)", count)
    .option(
      "--addresses <file>",
      "where the contracts are (default: what is known of the chain)",
      process.env.OPENLEDGER_ADDRESSES,
    )
    .option("--max-price <open>", "most that one request may cost in OPEN (default: 0.1)", openAmount)
    .option("--max-total <open>", "most that the operator may collect from the channel in all, in OPEN", openAmount)
    .option("--keep <n>", "newest questions and answers to keep for verifying them; 0 for none (default: 256)", whole);
}

/** The address without `/v1` and slashes at its end. */
function webAddress(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) throw new InvalidArgumentError("It must be an http(s) address.");
  return text.replace(/\/+$/, "").replace(/\/v1$/, "");
}
