import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Address, type Hex, parseEventLogs } from "viem";
import { privateKeyToAddress } from "viem/accounts";
import { contractOf } from "../../chain/contracts.ts";
import { type FinalState, readFinalState } from "../../chain/final-state.ts";
import type { ChainReader } from "../../chain/mirror/sync.ts";
import { RegistryMirror } from "../../chain/mirror.ts";
import { claimWitness } from "../../protocol/claims.ts";
import { treeEntries } from "../../protocol/sparse-tree.ts";
import { publishedName } from "../../settlement/publication.ts";
import type { EarningsOptions } from "../earnings.ts";
import { interruptible } from "../interrupt.ts";
import { type ChainView, inOpen, note, openChain, printResult, withSession } from "./chain-session.ts";
import { dataSources } from "./data-sources.ts";
import { keystoreAddress, openLedgerHome } from "./wallet-file.ts";

/** Ids in one claim: the transaction stays well below the gas of a block. */
const IDS_PER_CLAIM = 32;

/** What one operator owes one id, in wei of OPEN. */
interface Due {
  operator: number;
  id: number;
  name: string;
  earned: bigint;
  claimed: bigint;
}

interface Books {
  mirror: RegistryMirror;
  finals: Map<number, FinalState>;
  dues: Due[];
}

export async function showEarnings(options: EarningsOptions): Promise<void> {
  const view = await openChain(options);
  const { dues, mirror } = await readBooks(view, options, walletAddress(options.keystore));
  mirror.close();
  printResult(options.json, {
    earned: inOpen(sum(dues.map(({ earned }) => earned))),
    claimed: inOpen(sum(dues.map(({ claimed }) => claimed))),
    due: inOpen(sum(dues.map(({ earned, claimed }) => earned - claimed))),
    entries: dues.map(({ earned, claimed, ...due }) => ({ ...due, earned: inOpen(earned), claimed: inOpen(claimed) })),
  });
}

export async function claimEarnings(options: EarningsOptions): Promise<void> {
  await withSession(options, async (session) => {
    const { mirror, finals, dues } = await readBooks(session, options, session.account.address);
    let paid = 0n;
    const transactions: Hex[] = [];
    for (const [operator, { header, state }] of finals) {
      const ids = dues.filter((due) => due.operator === operator && due.earned > due.claimed).map(({ id }) => id);
      for (let i = 0; i < ids.length; i += IDS_PER_CLAIM) {
        const some = ids.slice(i, i + IDS_PER_CLAIM);
        const { timestamp } = await session.client.getBlock();
        const payees = some.map((id) => [...mirror.payeesOf(id, Number(timestamp))]);
        const request = { ...claimWitness(header, state, some), payees };
        const receipt = await session.transact(`Claiming from operator ${operator}`, "settlement", "claim", [request]);
        const { abi } = contractOf(session.deployment, "settlement");
        const events = parseEventLogs({ abi, eventName: "EarningsClaimed", logs: receipt.logs });
        paid += sum(events.map(({ args }) => args.amount));
        transactions.push(receipt.transactionHash);
      }
    }
    mirror.close();
    const due = sum(dues.map(({ earned, claimed }) => earned - claimed));
    if (paid < due) note("An operator has not collected all from its payers yet: claim the rest later.");
    printResult(options.json, {
      paid: inOpen(paid),
      due: inOpen(due - paid),
      transactions,
      cost: inOpen(session.cost()),
    });
  });
}

/** Reads registries and published data, and what was claimed; of the ids asked for, or all that an owner has. */
async function readBooks(
  { client, deployment }: ChainView,
  options: EarningsOptions,
  owner: Address | undefined,
): Promise<Books> {
  const home = openLedgerHome();
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const { content, archives } = dataSources(options.data, home);
  const dataUris = (hash: Uint8Array) => archives.map((base) => `${base.replace(/\/$/, "")}/${publishedName(hash)}`);
  const file = join(home, `mirror-${deployment.chainId}.sqlite`);
  const reader = client as unknown as ChainReader;
  const mirror = new RegistryMirror({ file, reader, deployment, confirmations: options.finality });
  return interruptible(async (signal) => {
    note("Reading the registries ...");
    await mirror.sync(signal);
    const finals = new Map<number, FinalState>();
    const dues: Due[] = [];
    for (const operator of options.operator ? [options.operator] : mirror.operators()) {
      const final = await readFinalState(operator, { mirror, content, dataUris, signal });
      if (!final) continue;
      finals.set(operator, final);
      for (const [id, earned] of treeEntries(final.state.earners)) {
        const entry = mirror.contentOf(id);
        const wanted = options.id ? options.id.includes(id) : entry?.owner.toLowerCase() === owner?.toLowerCase();
        if (!wanted) continue;
        const settlement = contractOf(deployment, "settlement");
        const claimed = await client.readContract({ ...settlement, functionName: "claimedOf", args: [operator, id] });
        dues.push({ operator, id, name: entry?.name ?? "", earned, claimed });
      }
    }
    return { mirror, finals, dues };
  });
}

function walletAddress(keystore: string): Address | undefined {
  const key = process.env.OPENLEDGER_PRIVATE_KEY;
  return key === undefined ? keystoreAddress(keystore) : privateKeyToAddress(key as Hex);
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((total, value) => total + value, 0n);
}
