import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { decryptKeystoreJson, encryptKeystoreJson, isKeystoreJson } from "ethers";
import type { Hex } from "viem";
import { privateKeyToAddress } from "viem/accounts";

/** Folder of wallets, journals and caches: `OPENLEDGER_HOME`, or `.openledger` in the home folder. */
export function openLedgerHome(): string {
  return process.env.OPENLEDGER_HOME ?? join(homedir(), ".openledger");
}

export function defaultKeystore(): string {
  return process.env.OPENLEDGER_KEYSTORE ?? join(openLedgerHome(), "wallet.json");
}

/** Writes a key, encrypted (Web3 Secret Storage, version 3); never over another. */
export async function writeKeystore(path: string, privateKey: Hex, password: string): Promise<void> {
  const address = privateKeyToAddress(privateKey);
  const text = await encryptKeystoreJson({ address, privateKey }, password);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, `${text}\n`, { mode: 0o600, flag: "wx" });
}

/** The address that a keystore says it is of, without decrypting it. */
export function keystoreAddress(path: string): Hex | undefined {
  if (!existsSync(path)) return undefined;
  const { address } = JSON.parse(readFileSync(path, "utf8")) as { address?: string };
  return address === undefined ? undefined : (`0x${address.replace(/^0x/, "")}` as Hex);
}

/**
 * The key to sign with: `OPENLEDGER_PRIVATE_KEY`, or the keystore's.
 *
 * @throws Error that says what to do, when there is none or the password is wrong.
 */
export async function readKey(path: string): Promise<Hex> {
  const given = process.env.OPENLEDGER_PRIVATE_KEY;
  if (given !== undefined) {
    if (!/^0x[0-9a-fA-F]{64}$/.test(given)) throw new Error("OPENLEDGER_PRIVATE_KEY must be 0x and 64 digits.");
    return given as Hex;
  }
  if (!existsSync(path)) {
    throw new Error(
      `There is no wallet at ${path}: make one with "openledger wallet new", or set OPENLEDGER_PRIVATE_KEY.`,
    );
  }
  const text = readFileSync(path, "utf8");
  if (!isKeystoreJson(text)) throw new Error(`${path} is not an encrypted keystore.`);
  try {
    const { privateKey } = await decryptKeystoreJson(text, await askPassword("Password of the wallet: "));
    return privateKey as Hex;
  } catch (error) {
    if (/password/i.test((error as Error).message)) throw new Error(`The password does not open ${path}.`);
    throw error;
  }
}

/** `OPENLEDGER_PASSWORD`, or what a person types unseen. */
export async function askPassword(question: string): Promise<string> {
  const given = process.env.OPENLEDGER_PASSWORD;
  if (given !== undefined) return given;
  return askUnseen(question, "Set OPENLEDGER_PASSWORD: there is no terminal to ask for the password.");
}

/** Asks on the terminal without showing the answer. */
export async function askUnseen(question: string, otherwise: string): Promise<string> {
  if (!process.stdin.isTTY) throw new Error(otherwise);
  process.stderr.write(question);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await terminal.question("");
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
