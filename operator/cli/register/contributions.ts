import { parseEventLogs, type TransactionReceipt } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import { parseAdapterConfig } from "../../engine/model/adapter-config.ts";
import { adapterHash } from "../../engine/model/adapter-folder.ts";
import { CONFIG_LIMITS, readJsonObject } from "../../engine/model/json-file.ts";
import type { Hex } from "../../protocol/bytes.ts";
import type { LineageEntry } from "../../protocol/registry-view.ts";
import { inOpen, type Session } from "../chain/chain-session.ts";
import { type ContributionTerms, hashFile, listFolder, publishContent } from "./publish.ts";

type Named = ContributionTerms & { name: string };

/** What came of a registration; `version` where what was registered has versions. */
export interface Registered extends Record<string, unknown> {
  id: number;
  version?: number;
}

/** Registers something whose content is read, checked and published already. */
export type Registration = (session: Session) => Promise<Registered>;

export function dataNetRegistration(path: string, options: Named): Registration {
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  return async (session) => {
    const args = [options.name, hash, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the DataNet", "dataNets", "createDataNet", args);
    return outcome(session, receipt, { contentHash: hash, uri });
  };
}

export function dataRegistration(path: string, options: ContributionTerms & { datanet: number }): Registration {
  const { files, root } = listFolder(path);
  const size = files.reduce((sum, file) => sum + file.bytes, 0);
  const uri = publishContent(root, path, options, files);
  const { datanet, licence, payee } = options;
  return async (session) => {
    const args = [datanet, root, uri, licence, files.length, size, payee] as const;
    const receipt = await session.transact("Contributing the data", "dataNets", "submit", args);
    return outcome(session, receipt, {
      dataNet: datanet,
      contentHash: root,
      documents: files.length,
      bytes: size,
      uri,
    });
  };
}

export function adapterRegistration(
  path: string,
  options: Named & { baseModel: Hex; trainedOn: LineageEntry[]; newVersionOf?: number },
): Registration {
  const { name, baseModel, trainedOn: lineage, licence, payee, newVersionOf: id } = options;
  const config = readJsonObject(`${path}/adapter_config.json`, CONFIG_LIMITS);
  // Refuses what no engine would load.
  parseAdapterConfig(config);
  const rank = config.integer("r", { min: 1, max: 65_535 });
  const targetModules = [config.get("target_modules")].flat().join(",");
  const weightsHash: Hex = `0x${adapterHash(path)}`;
  const version = { baseModel, weightsHash, rank, targetModules, lineage };
  const uri = publishContent(weightsHash, path, options);
  return async (session) => {
    const receipt =
      id === undefined
        ? await session.transact("Registering the adapter", "adapters", "register", [
            name,
            version,
            uri,
            licence,
            payee,
          ])
        : await session.transact("Publishing the adapter", "adapters", "publishVersion", [id, version, uri]);
    return outcome(session, receipt, { ...version, uri });
  };
}

export function promptRegistration(path: string, options: Named & { variable: string[] }): Registration {
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  return async (session) => {
    const args = [options.name, hash, options.variable, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the prompt", "prompts", "register", args);
    return outcome(session, receipt, { contentHash: hash, variables: options.variable, uri });
  };
}

export function toolRegistration(path: string, options: Named & { endpoint: string }): Registration {
  if (!/^(https?|stdio):/.test(options.endpoint))
    throw new Error("--endpoint must be an http, https or stdio address.");
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  return async (session) => {
    const args = [options.name, hash, options.endpoint, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the tool", "tools", "register", args);
    return outcome(session, receipt, { contentHash: hash, endpoint: options.endpoint, uri });
  };
}

/** What came of a registration: its id and version, as the chain has said them. */
function outcome(
  session: Session,
  { logs, transactionHash }: TransactionReceipt,
  details: Record<string, unknown>,
): Registered {
  const [registered] = parseEventLogs({ abi: ABIS.adapters, eventName: "Registered", logs });
  const [published] = parseEventLogs({ abi: ABIS.adapters, eventName: "VersionPublished", logs });
  return {
    id: registered?.args.id ?? published.args.id,
    ...(published ? { version: published.args.version } : {}),
    ...details,
    owner: session.account.address,
    transaction: transactionHash,
    cost: inOpen(session.cost()),
  };
}
