import { readFileSync } from "node:fs";
import { type Hex, parseEventLogs } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import { toHex } from "../../protocol/bytes.ts";
import { compositionHash, encodeComposition } from "../../protocol/composition.ts";
import { inOpen, note, printResult, withSession } from "../chain/chain-session.ts";
import type { ContributionOptions } from "../register.ts";
import { readComposition } from "./composition-file.ts";
import { hashFile, publishContent } from "./publish.ts";

export async function registerAgent(
  path: string,
  options: ContributionOptions & { name: string; newVersionOf?: number },
): Promise<void> {
  // Read before anything is sent: an agent without a version would be left behind.
  const bytes = encodeComposition(readComposition(readFileSync(path, "utf8")));
  const { name, licence, payee, newVersionOf } = options;
  const contentHash = hashFile(path);
  const uri = newVersionOf === undefined ? publishContent(contentHash, path, options) : undefined;
  await withSession(options, async ({ transact, account, cost }) => {
    let agent = newVersionOf;
    if (agent === undefined) {
      const args = [name, contentHash, uri!, licence, payee] as const;
      const { logs } = await transact("Creating the agent", "agents", "create", args);
      [
        {
          args: { id: agent },
        },
      ] = parseEventLogs({ abi: ABIS.agents, eventName: "Registered", logs });
    }
    const composition: Hex = toHex(bytes);
    const args = [agent, composition] as const;
    const { logs, transactionHash } = await transact("Publishing its version", "agents", "publishVersion", args).catch(
      (error: unknown) => {
        if (newVersionOf === undefined)
          note(`Agent ${agent} has no version yet: go on with --new-version-of ${agent}.`);
        throw error;
      },
    );
    const [published] = parseEventLogs({ abi: ABIS.agents, eventName: "CompositionPublished", logs });
    printResult(options.json, {
      id: agent,
      version: published.args.version,
      model: name,
      compositionHash: toHex(compositionHash(bytes)),
      ...(uri ? { uri } : {}),
      owner: account.address,
      transaction: transactionHash,
      cost: inOpen(cost()),
    });
  });
}
