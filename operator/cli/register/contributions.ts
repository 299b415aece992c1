import { parseEventLogs, type TransactionReceipt } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import { parseAdapterConfig } from "../../engine/model/adapter-config.ts";
import { adapterHash } from "../../engine/model/adapter-folder.ts";
import { CONFIG_LIMITS, readJsonObject } from "../../engine/model/json-file.ts";
import type { Hex } from "../../protocol/bytes.ts";
import type { LineageEntry } from "../../protocol/registry-view.ts";
import { inOpen, printResult, type Session, withSession } from "../chain/chain-session.ts";
import type { ContributionOptions } from "../register.ts";
import { hashFile, listFolder, publishContent } from "./publish.ts";

type Named = ContributionOptions & { name: string };

export async function registerDataNet(path: string, options: Named): Promise<void> {
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  await withSession(options, async (session) => {
    const args = [options.name, hash, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the DataNet", "dataNets", "createDataNet", args);
    report(session, options, receipt, { contentHash: hash, uri });
  });
}

export async function registerData(path: string, options: ContributionOptions & { datanet: number }): Promise<void> {
  const { files, root } = listFolder(path);
  const size = files.reduce((sum, file) => sum + file.bytes, 0);
  const uri = publishContent(root, path, options, files);
  const { datanet, licence, payee } = options;
  await withSession(options, async (session) => {
    const args = [datanet, root, uri, licence, files.length, size, payee] as const;
    const receipt = await session.transact("Contributing the data", "dataNets", "submit", args);
    report(session, options, receipt, {
      dataNet: datanet,
      contentHash: root,
      documents: files.length,
      bytes: size,
      uri,
    });
  });
}

export async function registerAdapter(
  path: string,
  options: Named & { baseModel: Hex; trainedOn: LineageEntry[]; newVersionOf?: number },
): Promise<void> {
  const { name, baseModel, trainedOn: lineage, licence, payee, newVersionOf: id } = options;
  const config = readJsonObject(`${path}/adapter_config.json`, CONFIG_LIMITS);
  // Refuses what no engine would load.
  parseAdapterConfig(config);
  const rank = config.integer("r", { min: 1, max: 65_535 });
  const targetModules = [config.get("target_modules")].flat().join(",");
  const weightsHash: Hex = `0x${adapterHash(path)}`;
  const version = { baseModel, weightsHash, rank, targetModules, lineage };
  const uri = publishContent(weightsHash, path, options);
  await withSession(options, async (session) => {
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
    report(session, options, receipt, { ...version, uri });
  });
}

export async function registerPrompt(path: string, options: Named & { variable: string[] }): Promise<void> {
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  await withSession(options, async (session) => {
    const args = [options.name, hash, options.variable, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the prompt", "prompts", "register", args);
    report(session, options, receipt, { contentHash: hash, variables: options.variable, uri });
  });
}

export async function registerTool(path: string, options: Named & { endpoint: string }): Promise<void> {
  if (!/^(https?|stdio):/.test(options.endpoint))
    throw new Error("--endpoint must be an http, https or stdio address.");
  const hash = hashFile(path);
  const uri = publishContent(hash, path, options);
  await withSession(options, async (session) => {
    const args = [options.name, hash, options.endpoint, uri, options.licence, options.payee] as const;
    const receipt = await session.transact("Registering the tool", "tools", "register", args);
    report(session, options, receipt, { contentHash: hash, endpoint: options.endpoint, uri });
  });
}

/** Prints what came of a registration: its id and version, as the chain has said them. */
function report(
  session: Session,
  { json }: ContributionOptions,
  { logs, transactionHash }: TransactionReceipt,
  details: Record<string, unknown>,
): void {
  const [registered] = parseEventLogs({ abi: ABIS.adapters, eventName: "Registered", logs });
  const [published] = parseEventLogs({ abi: ABIS.adapters, eventName: "VersionPublished", logs });
  printResult(json, {
    id: registered?.args.id ?? published.args.id,
    ...(published ? { version: published.args.version } : {}),
    ...details,
    owner: session.account.address,
    transaction: transactionHash,
    cost: inOpen(session.cost()),
  });
}
