import { Command } from "commander";
import { type ChainOptions, count, withChainOptions } from "./chain/chain-session.ts";
import { texts, whole } from "./watch.ts";

export interface VerifyBatchOptions extends ChainOptions {
  data: string[];
  finality?: number;
}

export interface VerifyBatchCommandOptions extends VerifyBatchOptions {
  all: boolean;
}

export interface VerifyJobCommandOptions extends VerifyBatchOptions {
  operatorUrl?: string;
  salt?: string;
  evidence?: string;
  model?: string;
}

/** `openledger verify ...`: does again what an operator says it has done. */
export function verifyCommand(): Command {
  const verify = new Command("verify").description("Do again what an operator says it has done.");
  withSources(verify.command("batch"))
    .description("Replay an operator's batches up to one. Exit code 3 when one lies.")
    .argument("<operator>", "its number", count)
    .argument("<height>", "height of the batch", count)
    .option("--all", "replay from the first batch instead of the newest final snapshot below", false)
    .action(async (operator: number, height: number, options: VerifyBatchCommandOptions) =>
      (await import("./node/verify-batch.ts")).verifyBatch(operator, height, options),
    );
  withSources(verify.command("job"))
    .description("Hold a job's receipt and trace against registry, batch and model. Exit code 1 when they differ.")
    .argument("[job]", "its id")
    .option("--operator-url <url>", "where the operator is reached")
    .option("--salt <hex>", "of your request: question, answer and trace are shown to whoever has it")
    .option("--evidence <file>", "what a watcher kept of a wrong job, in place of asking its operator")
    .option(
      "--model <folder>",
      "base model, to measure the attribution again: its folder, or org/name[@revision] on the hub",
    )
    .action(async (job: string | undefined, options: VerifyJobCommandOptions) =>
      (await import("./node/verify-job.ts")).verifyJobOf(job, options),
    );
  return verify;
}

function withSources(command: Command): Command {
  return withChainOptions(command)
    .option(
      "--data <address>",
      "folder or archive of published data, beside the operators' own; several times",
      texts,
      [],
    )
    .option(
      "--finality <blocks>",
      "blocks after which the chain is believed (default: what the node calls final)",
      whole,
    );
}
