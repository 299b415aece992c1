import { Command, InvalidArgumentError } from "commander";
import {
  type ChainOptions,
  count,
  printResult,
  type Session,
  withChainOptions,
  withSession,
} from "./chain/chain-session.ts";
import { progressLine } from "./progress-line.ts";
import type { ContributionTerms } from "./register/publish.ts";

/** `openledger register ...`: what somebody made gets an id under which it earns. */
export function registerCommand(): Command {
  const register = new Command("register").description("Register what you made: it gets an id under which it earns.");
  contribution(register.command("datanet"))
    .description("A DataNet, by the document that says what belongs in it.")
    .argument("<document>", "file that describes it")
    .requiredOption("--name <name>", "what people call it")
    .action(async (path: string, options) => {
      const { dataNetRegistration } = await import("./register/contributions.ts");
      await carryOut(options, dataNetRegistration(path, options));
    });
  contribution(register.command("data"))
    .description("A folder of documents, contributed to a DataNet; its curator decides upon it.")
    .argument("<folder>", "folder of documents; hidden files are left out")
    .requiredOption("--datanet <id>", "DataNet that it is for", count)
    .action(async (path: string, options) => {
      const { dataRegistration } = await import("./register/contributions.ts");
      await carryOut(options, dataRegistration(path, options));
    });
  contribution(register.command("adapter"))
    .description("A LoRA adapter in PEFT's form.")
    .argument(
      "<folder>",
      "folder with adapter_config.json and adapter_model.safetensors, or org/name[@revision] on the hub",
    )
    .requiredOption("--name <name>", "what people call it")
    .requiredOption("--base-model <hash>", "hash of its base model, as openledger engine info prints it", hash)
    .option("--trained-on <id@version>", "DataNet version it was trained on; several times for several", pins, [])
    .option("--new-version-of <id>", "publish it as the next version of this adapter", count)
    .action(async (path: string, options) => {
      const { adapterRegistration } = await import("./register/contributions.ts");
      const { adapterFolder } = await import("../hub/locate.ts");
      const folder = await adapterFolder(path, { say: progressLine() });
      await carryOut(options, adapterRegistration(folder, options));
    });
  contribution(register.command("prompt"))
    .description("A prompt's template.")
    .argument("<file>", "the template")
    .requiredOption("--name <name>", "what people call it")
    .option("--variable <name>", "variable that it leaves open; several times for several", texts, [])
    .action(async (path: string, options) => {
      const { promptRegistration } = await import("./register/contributions.ts");
      await carryOut(options, promptRegistration(path, options));
    });
  contribution(register.command("tool"))
    .description("A tool that an MCP server offers.")
    .argument("<manifest>", "file that describes it")
    .requiredOption("--name <name>", "what people call it")
    .requiredOption("--endpoint <url>", "where its server is reached")
    .action(async (path: string, options) => {
      const { toolRegistration } = await import("./register/contributions.ts");
      await carryOut(options, toolRegistration(path, options));
    });
  contribution(register.command("agent"))
    .description("An agent, and the first version of what it is composed of.")
    .argument("<composition>", "JSON file: base model, prices, split, and the parts with their versions")
    .requiredOption("--name <name>", "model name under which it is asked")
    .option("--new-version-of <id>", "publish it as the next version of this agent", count)
    .action(async (path: string, options) => {
      const { agentRegistration } = await import("./register/agent.ts");
      await carryOut(options, agentRegistration(path, options));
    });
  return register;
}

/** `openledger datanet ...`: what a DataNet's curator decides. */
export function dataNetCommand(): Command {
  const dataNet = new Command("datanet").description("Decide, as curator, what a DataNet holds.");
  for (const decision of ["accept", "reject"] as const) {
    withChainOptions(dataNet.command(decision))
      .description(
        decision === "accept" ? "Take contributions into the next version." : "Refuse contributions for good.",
      )
      .argument("<ids...>", "contributions", counts)
      .action(async (ids: number[], options: ChainOptions) =>
        carryOut(options, (await import("./register/curate.ts")).decide(decision, ids)),
      );
  }
  withChainOptions(dataNet.command("publish"))
    .description("Publish the next version: all that is accepted and not withdrawn.")
    .argument("<datanet>", "its id", count)
    .action(async (id: number, options: ChainOptions) =>
      carryOut(options, (await import("./register/curate.ts")).publish(id)),
    );
  withChainOptions(dataNet.command("withdraw"))
    .description("Take a contribution out of all later versions, as its owner or the curator.")
    .argument("<id>", "the contribution", count)
    .action(async (id: number, options: ChainOptions) =>
      carryOut(options, (await import("./register/curate.ts")).withdraw(id)),
    );
  return dataNet;
}

async function carryOut(
  options: ChainOptions,
  work: (session: Session) => Promise<Record<string, unknown>>,
): Promise<void> {
  await withSession(options, async (session) => printResult(options.json, await work(session)));
}

function contribution(command: Command): Command {
  return withChainOptions(command)
    .requiredOption("--licence <spdx>", "SPDX expression of its licence")
    .option("--uri <uri>", "where it can be had already: https://..., ipfs://...")
    .option("--publish <folder>", "copy it into this folder, under its hash")
    .option("--base-uri <uri>", "where that folder is served (default: its file: address)")
    .option(
      "--payee <address=percent>",
      "who is paid for it; several times, to 100 % (default: the owner)",
      payees,
      [],
    );
}

function texts(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

function counts(text: string, earlier: number[] = []): number[] {
  return [...earlier, count(text)];
}

/** `3@1`: version 1 of DataNet 3. */
function pins(text: string, earlier: { dataNet: number; version: number }[]) {
  const match = /^(\d+)@(\d+)$/.exec(text);
  if (!match) throw new InvalidArgumentError("It must be an id and a version, like 3@1.");
  return [...earlier, { dataNet: Number(match[1]), version: Number(match[2]) }];
}

function hash(text: string): string {
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(text)) throw new InvalidArgumentError("It must be a hash of 64 digits.");
  return `0x${text.replace(/^0x/, "").toLowerCase()}`;
}

function payees(text: string, earlier: ContributionTerms["payee"]): ContributionTerms["payee"] {
  const match = /^(0x[0-9a-fA-F]{40})=(\d{1,3}(?:\.\d{1,4})?)$/.exec(text);
  if (!match) throw new InvalidArgumentError("It must be an address and a percentage, like 0x...=12.5.");
  const sharePpm = Math.round(Number(match[2]) * 10_000);
  return [...earlier, { account: match[1] as `0x${string}`, sharePpm }];
}
