import { readFileSync } from "node:fs";
import { type Hex, parseEventLogs } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import { toHex } from "../../protocol/bytes.ts";
import { compositionHash, encodeComposition } from "../../protocol/composition.ts";
import { inOpen, note } from "../chain/chain-session.ts";
import { readComposition } from "./composition-file.ts";
import type { Registration } from "./contributions.ts";
import { type ContributionTerms, hashFile, publishContent } from "./publish.ts";

export function agentRegistration(
  path: string,
  options: ContributionTerms & { name: string; newVersionOf?: number },
): Registration {
  // Read before anything is sent: an agent without a version would be left behind.
  const bytes = encodeComposition(readComposition(readFileSync(path, "utf8")));
  const { name, licence, payee, newVersionOf } = options;
  const contentHash = hashFile(path);
  const uri = newVersionOf === undefined ? publishContent(contentHash, path, options) : undefined;
  return async ({ transact, account, cost }) => {
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
    return {
      id: agent,
      version: published.args.version,
      model: name,
      compositionHash: toHex(compositionHash(bytes)),
      ...(uri ? { uri } : {}),
      owner: account.address,
      transaction: transactionHash,
      cost: inOpen(cost()),
    };
  };
}
