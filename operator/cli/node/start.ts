import { join } from "node:path";
import { privateKeyToAccount } from "viem/accounts";
import { readRoles } from "../../node/roles.ts";
import { startNode } from "../../node/start-node.ts";
import { note } from "../chain/chain-session.ts";
import { defaultKeystore, openLedgerHome, readKey } from "../chain/wallet-file.ts";
import { EXIT } from "../exit-codes.ts";
import type { StartOptions } from "../operator.ts";
import { deploymentFrom, readNodeFile } from "./node-file.ts";
import { announceNode } from "./running-nodes.ts";

/** `openledger operator start`: until it is told to end. */
export async function startOperator(options: StartOptions): Promise<void> {
  const roles = readRoles(options.role);
  const config = readNodeFile(options);
  const signs = roles.has("settler") || (roles.has("watcher") && config.watcher.prove);
  const account = signs ? privateKeyToAccount(await readKey(config.keystore ?? defaultKeystore())) : undefined;
  const asked = Promise.withResolvers<void>();
  const interrupt = () => {
    if (signals++ > 0) process.exit(EXIT.interrupted);
    note("Ending; once more ends at once.");
    asked.resolve();
  };
  let signals = 0;
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  // Before anything is started: a disk that does not take so much ends it with one sentence.
  const withdraw = announceNode(config.data, [...roles]);
  try {
    const node = await startNode({
      config,
      roles,
      deploymentOf: deploymentFrom(config),
      ...(account && { account }),
      transactions: join(openLedgerHome(), "transactions"),
      payments: join(openLedgerHome(), "payments"),
      sequencerSecret: process.env.OPENLEDGER_SEQUENCER_SECRET,
      say: (line) => note(`${new Date().toISOString()} ${line}`),
    });
    const ready = { roles: [...roles], ...node.urls };
    if (options.json) console.log(JSON.stringify(ready));
    for (const [name, url] of Object.entries(node.urls)) note(`${name} at ${url}`);
    note("Ready.");
    await asked.promise;
    await node.close();
    note("Ended.");
  } finally {
    withdraw();
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
  // A part that holds on to something must not keep a node alive that has ended.
  process.exit(EXIT.ok);
}
