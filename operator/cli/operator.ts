import { Command, InvalidArgumentError } from "commander";
import { count, openAmount } from "./chain/chain-session.ts";

export interface NodeFileOptions {
  config: string;
  rpc?: string;
  addresses?: string;
  redis?: string;
  keystore?: string;
  data?: string;
  json: boolean;
}

export interface StartOptions extends NodeFileOptions {
  role: string;
  model?: string;
  host?: string;
  port?: number;
  sequencer?: string;
}

/** `openledger operator ...`: a node that serves, settles and watches. */
export function operatorCommand(): Command {
  const operator = new Command("operator").description(
    "A node that serves paid jobs, settles them and watches others.",
  );
  withNodeFile(operator.command("start"))
    .description("Start a node. Ctrl-C or SIGTERM ends it in order, a second one at once.")
    .option("--role <roles>", "all, or some of gateway,worker,settler,watcher", "all")
    .option(
      "--model <path>",
      "folder of the base model, org/name[@revision] on the Hugging Face hub, or address of a server",
    )
    .option("--host <address>", "address that the HTTP API listens on")
    .option("--port <n>", "its port", port)
    .option("--sequencer <url>", "where the settler of this operator is", process.env.OPENLEDGER_SEQUENCER_URL)
    .action(async (options: StartOptions) => (await import("./node/start.ts")).startOperator(options));
  withNodeFile(operator.command("status"))
    .description("How the node, its queue and its batches are. Exit code 4 when it is not ready.")
    .action(async (options: NodeFileOptions) => (await import("./node/status.ts")).showStatus(options));
  withNodeFile(operator.command("drain"))
    .description("End the nodes of this data folder in order, and wait until they have.")
    .option("--timeout <seconds>", "how long to wait", count, 120)
    .action(async (options: NodeFileOptions & { timeout: number }) =>
      (await import("./node/drain.ts")).drainNodes(options),
    );
  withNodeFile(operator.command("bond"))
    .description("Put up more bond for this node's operator, from any wallet.")
    .argument("<open>", "amount of OPEN", openAmount)
    .action(async (amount: bigint, options: NodeFileOptions) =>
      (await import("./node/bond.ts")).addBond(amount, options),
    );
  operator
    .command("settings")
    .description("Every field that openledger.json may have.")
    .option("--json", "print one JSON object", false)
    .action(async (options: { json: boolean }) => (await import("./node/settings.ts")).showSettings(options));
  const jobs = operator.command("jobs").description("Jobs that no attempt could serve.");
  withNodeFile(jobs.command("failed"))
    .description("Jobs given up after their last attempt, the latest first.")
    .option("--limit <n>", "at most so many", count, 100)
    .action(async (options: NodeFileOptions & { limit: number }) =>
      (await import("./node/jobs.ts")).showFailedJobs(options),
    );
  withNodeFile(jobs.command("retry"))
    .description("Put jobs back into the queue. What the journal has as failed stays failed.")
    .argument("<job>", "its id, or all", jobOrAll)
    .action(async (which: `0x${string}` | "all", options: NodeFileOptions) =>
      (await import("./node/jobs.ts")).retryJobs(which, options),
    );
  return operator;
}

function withNodeFile(command: Command): Command {
  const { OPENLEDGER_CONFIG, OPENLEDGER_RPC, OPENLEDGER_ADDRESSES, OPENLEDGER_KEYSTORE, REDIS_URL } = process.env;
  return command
    .option("--config <file>", "the node's configuration", OPENLEDGER_CONFIG ?? "openledger.json")
    .option("--rpc <url>", "JSON-RPC endpoint of the chain", OPENLEDGER_RPC)
    .option("--addresses <file>", "where the contracts are", OPENLEDGER_ADDRESSES)
    .option("--redis <url>", "Redis of the queue", REDIS_URL)
    .option("--keystore <file>", "encrypted wallet", OPENLEDGER_KEYSTORE)
    .option("--data <folder>", "folder of the node's data")
    .option("--json", "print one JSON object", false);
}

function port(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new InvalidArgumentError("It must be a port.");
  return Number(text);
}

function jobOrAll(text: string): `0x${string}` | "all" {
  if (text === "all" || /^0x[0-9a-fA-F]{64}$/.test(text)) return text as `0x${string}` | "all";
  throw new InvalidArgumentError("It must be a job's id (0x and 64 digits), or all.");
}
