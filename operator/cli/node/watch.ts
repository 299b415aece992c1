import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { privateKeyToAccount } from "viem/accounts";
import { TransactionSender } from "../../chain/transactions.ts";
import { findingLine } from "../../node/watcher-role.ts";
import { openWatcher } from "../../node/watching.ts";
import type { Finding } from "../../settlement/watcher.ts";
import { type ChainView, note, openChain } from "../chain/chain-session.ts";
import { openLedgerHome, readKey } from "../chain/wallet-file.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import type { WatchOptions } from "../watch.ts";
import { openArchive } from "./chain-archive.ts";

/** `openledger watch` */
export async function watch(options: WatchOptions): Promise<void> {
  const view = await openChain(options);
  const sender = options.prove ? await openSender(view, options) : undefined;
  try {
    await interruptible((signal) => watchUntil(view, options, sender, signal));
  } finally {
    sender?.close();
  }
}

async function watchUntil(
  view: ChainView,
  options: WatchOptions,
  sender: TransactionSender | undefined,
  signal: AbortSignal,
): Promise<void> {
  const archive = await openArchive(view, options, signal);
  try {
    const watcher = openWatcher({
      ...archive,
      demandsPerRound: 8,
      replayFinal: options.all,
      ...(sender && { sender }),
    });
    for (;;) {
      const findings = await watcher.round();
      for (const finding of findings) print(options.json, finding);
      if (findings.some(({ what }) => what === "lie")) process.exitCode = EXIT.lie;
      if (options.once) return;
      await sleep(options.interval * 1_000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await archive.mirror.sync(signal).catch((error: Error) => note(`The chain could not be read: ${error.message}`));
    }
  } finally {
    archive.close();
  }
}

function print(json: boolean, finding: Finding): void {
  const { height, ...rest } = finding;
  console.log(json ? JSON.stringify({ ...rest, height: Number(height) }) : findingLine(finding));
}

async function openSender({ client, deployment }: ChainView, { keystore, confirmations }: WatchOptions) {
  const account = privateKeyToAccount(await readKey(keystore));
  const folder = join(openLedgerHome(), "transactions");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${deployment.chainId}-${account.address.toLowerCase()}.sqlite`);
  return new TransactionSender({ client, account, file, confirmations });
}
