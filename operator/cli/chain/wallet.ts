import { existsSync } from "node:fs";
import { formatEther, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { contractOf } from "../../chain/contracts.ts";
import { type ChainOptions, inOpen, openChain, printResult, withSession } from "./chain-session.ts";
import { askPassword, askUnseen, keystoreAddress, writeKeystore } from "./wallet-file.ts";

interface KeystoreOptions {
  keystore: string;
  json: boolean;
}

export async function newWallet({ keystore, json }: KeystoreOptions): Promise<void> {
  await keep(generatePrivateKey(), keystore, json);
}

export async function importWallet({ keystore, json }: KeystoreOptions): Promise<void> {
  const given = process.env.OPENLEDGER_PRIVATE_KEY;
  const key = given ?? (await askUnseen("Private key: ", "Set OPENLEDGER_PRIVATE_KEY: there is no terminal to ask."));
  if (!/^0x[0-9a-fA-F]{64}$/.test(key)) throw new Error("A private key is 0x and 64 hexadecimal digits.");
  await keep(key as Hex, keystore, json);
}

async function keep(key: Hex, keystore: string, json: boolean): Promise<void> {
  if (existsSync(keystore)) throw new Error(`${keystore} exists; nothing was changed. Name another with --keystore.`);
  const password = await askPassword("Password for the new wallet: ");
  if (password.length < 8) throw new Error("The password must have at least 8 characters.");
  await writeKeystore(keystore, key, password);
  printResult(json, { address: privateKeyToAddress(key), keystore });
}

export function showAddress({ keystore, json }: KeystoreOptions): void {
  printResult(json, { address: addressOf(keystore) });
}

export async function showBalance(options: ChainOptions): Promise<void> {
  const address = addressOf(options.keystore);
  const { client, deployment } = await openChain(options);
  const [coin, open] = await Promise.all([
    client.getBalance({ address }),
    client.readContract({ ...contractOf(deployment, "token"), functionName: "balanceOf", args: [address] }),
  ]);
  printResult(options.json, { address, chain: deployment.chainId, open: inOpen(open), coin: formatEther(coin) });
}

export async function drip(options: ChainOptions): Promise<void> {
  await withSession(options, async ({ account, client, deployment, transact }) => {
    const faucet = contractOf(deployment, "faucet");
    await transact("Taking OPEN from the faucet", "faucet", "drip", [account.address]);
    const amount = await client.readContract({ ...faucet, functionName: "AMOUNT" });
    printResult(options.json, { address: account.address, received: inOpen(amount) });
  });
}

/** Whose wallet it is; the password is not needed for that. */
function addressOf(keystore: string): Hex {
  const key = process.env.OPENLEDGER_PRIVATE_KEY;
  const address = key === undefined ? keystoreAddress(keystore) : privateKeyToAddress(key as Hex);
  if (!address) throw new Error(`There is no wallet at ${keystore}: make one with "openledger wallet new".`);
  return address;
}
