import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { decryptKeystoreJson, isKeystoreJson } from "ethers";
import type { Hex } from "viem";
import { readAddresses } from "../../../deploy/addresses.ts";
import type { Deployment } from "../../../deploy/deployment.ts";
import { PayerLedger } from "../../payments/payer/payer-ledger.ts";
import { fromHex } from "../../protocol/bytes.ts";
import { askPassword, openLedgerHome } from "../chain/wallet-file.ts";
import type { PayerOptions } from "./payer-options.ts";

/**
 * Opens the ledger of the channel that pays; the session key is decrypted for it. The contract is the one that is known
 * of the chain, never one that an operator names.
 *
 * @throws Error that says what is missing.
 */
export async function openPayer(options: PayerOptions): Promise<PayerLedger> {
  const given = process.env.OPENLEDGER_SESSION_KEY;
  const keystore = given === undefined ? (options.keystore ?? onlyKeystore()) : undefined;
  const { chainId, contracts } = deploymentOf(options, keystore);
  const privateKey = fromHex(keystore === undefined ? sessionKeyOf(given!) : await decrypted(keystore));
  const folder = join(openLedgerHome(), "payments");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return new PayerLedger({
    file: join(folder, `${chainId}-${options.channel}.sqlite`),
    channel: options.channel,
    domain: { chainId: BigInt(chainId), verifyingContract: contracts.channels },
    privateKey,
    ...(options.keep !== undefined && { keepExchanges: options.keep }),
  });
}

function deploymentOf({ addresses, chain }: PayerOptions, keystore: string | undefined): Deployment {
  const named = /^(\d+)-0x/.exec(basename(keystore ?? ""))?.[1];
  const chainId = chain ?? (named === undefined ? undefined : Number(named));
  if (addresses !== undefined) {
    const deployment = JSON.parse(readFileSync(addresses, "utf8")) as Deployment;
    if (chainId === undefined || deployment.chainId === chainId) return deployment;
    throw new Error(`${addresses} is of chain ${deployment.chainId}, and the channel is on chain ${chainId}.`);
  }
  if (chainId === undefined) throw new Error("Say on which chain the channel is: --chain ID, or --addresses FILE.");
  return readAddresses(chainId);
}

/** Where `channel open` puts session keys there may be one only. */
function onlyKeystore(): string {
  const folder = join(openLedgerHome(), "sessions");
  const found = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")) : [];
  if (found.length === 1) return join(folder, found[0]);
  const why =
    found.length === 0 ? `There is no session key in ${folder}` : `There are ${found.length} keys in ${folder}`;
  throw new Error(`${why}: name the channel's with --keystore FILE, or set OPENLEDGER_SESSION_KEY.`);
}

function sessionKeyOf(given: string): Hex {
  if (!/^0x[0-9a-fA-F]{64}$/.test(given)) throw new Error("OPENLEDGER_SESSION_KEY must be 0x and 64 digits.");
  return given as Hex;
}

async function decrypted(path: string): Promise<Hex> {
  if (!existsSync(path)) throw new Error(`There is no session key at ${path}.`);
  const text = readFileSync(path, "utf8");
  if (!isKeystoreJson(text)) throw new Error(`${path} is not an encrypted keystore.`);
  try {
    return (await decryptKeystoreJson(text, await askPassword("Password of the session key: "))).privateKey as Hex;
  } catch (error) {
    if (/password/i.test((error as Error).message)) throw new Error(`The password does not open ${path}.`);
    throw error;
  }
}
