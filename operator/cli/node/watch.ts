import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { privateKeyToAccount } from "viem/accounts";
import { TransactionSender } from "../../chain/transactions.ts";
import { type Found, findingLine, isCaught } from "../../node/findings.ts";
import { openWatcher } from "../../node/watching.ts";
import { type ChainView, note, openChain } from "../chain/chain-session.ts";
import { openLedgerHome, readKey } from "../chain/wallet-file.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import type { WatchOptions } from "../watch.ts";
import { openArchive } from "./chain-archive.ts";
import { openSampling } from "./sampling.ts";

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
  const tell = (findings: readonly Found[]) => {
    for (const finding of findings) print(options.json, finding);
    if (findings.some(isCaught)) process.exitCode = EXIT.lie;
  };
  let sampling: Awaited<ReturnType<typeof openSampling>>;
  try {
    sampling = await openSampling(archive, options, signal);
    const watcher = openWatcher({
      ...archive,
      demandsPerRound: 8,
      replayFinal: options.all,
      ...(sender && { sender }),
    });
    for (;;) {
      tell(await watcher.round());
      const sampled = sampling?.round().then(tell);
      // Alone, a sample that fails is the command's failure; else the next round is another try.
      await (options.once ? sampled : sampled?.catch((error: Error) => note(`Nothing was sampled: ${error.message}`)));
      await sampling?.buy();
      if (options.once) return;
      await sleep(options.interval * 1_000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await archive.mirror.sync(signal).catch((error: Error) => note(`The chain could not be read: ${error.message}`));
    }
  } finally {
    sampling?.close();
    archive.close();
  }
}

function print(json: boolean, finding: Found): void {
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
