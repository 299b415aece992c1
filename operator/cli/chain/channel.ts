import { join } from "node:path";
import { type Hex, parseEventLogs, parseSignature } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { contractOf } from "../../chain/contracts.ts";
import {
  type ChainOptions,
  type ChainView,
  inOpen,
  openChain,
  printResult,
  type Session,
  withSession,
} from "./chain-session.ts";
import { askPassword, openLedgerHome, writeKeystore } from "./wallet-file.ts";

/** Seconds for which a signed approval holds. */
const PERMIT_LIFE = 3_600n;

export async function openChannel(
  options: ChainOptions & { operator: number; amount: bigint; sessionKey?: Hex },
): Promise<void> {
  const { operator, amount } = options;
  await withSession(options, async (session) => {
    await checkBalance(session, amount);
    const { sessionKey, keystore } = options.sessionKey
      ? { sessionKey: options.sessionKey, keystore: undefined }
      : await newSessionKey(session.deployment.chainId);
    const { channel, transaction } = await openChannelFor(session, { operator, amount, sessionKey });
    printResult(options.json, {
      channel,
      operator,
      deposit: inOpen(amount),
      sessionKey,
      ...(keystore ? { keystore } : {}),
      transaction,
      cost: inOpen(session.cost()),
    });
  });
}

/** Opens a channel from a wallet, in one transaction. @param given.amount Wei of OPEN. */
export async function openChannelFor(
  session: Session,
  { operator, amount, sessionKey }: { operator: number; amount: bigint; sessionKey: Hex },
): Promise<{ channel: number; transaction: Hex }> {
  const { deadline, v, r, s } = await permit(session, amount);
  const args = [operator, sessionKey, amount, deadline, v, r, s] as const;
  const receipt = await session.transact("Opening the channel", "channels", "openWithPermit", args);
  const { abi } = contractOf(session.deployment, "channels");
  const [opened] = parseEventLogs({ abi, eventName: "ChannelOpened", logs: receipt.logs });
  return { channel: opened.args.channel, transaction: receipt.transactionHash };
}

export async function fundChannel(id: number, amount: bigint, options: ChainOptions): Promise<void> {
  await withSession(options, async (session) => {
    await readChannel(session, id);
    await checkBalance(session, amount);
    const { deadline, v, r, s } = await permit(session, amount);
    const args = [id, amount, deadline, v, r, s] as const;
    const receipt = await session.transact("Funding the channel", "channels", "depositWithPermit", args);
    const { deposit } = await readChannel(session, id);
    const { transactionHash: transaction } = receipt;
    printResult(options.json, { channel: id, deposit: inOpen(deposit), transaction, cost: inOpen(session.cost()) });
  });
}

export async function closeChannel(id: number, options: ChainOptions): Promise<void> {
  await withSession(options, async (session) => {
    const { deposit, collected, thawing, readyAt, payer } = await readChannel(session, id);
    if (payer !== session.account.address) throw new Error(`Channel ${id} is paid by ${payer}: only it can close it.`);
    const { timestamp } = await session.client.getBlock();
    if (thawing > 0n && timestamp >= readyAt) {
      const receipt = await session.transact("Withdrawing", "channels", "withdraw", [id]);
      const { abi } = contractOf(session.deployment, "channels");
      const [withdrawn] = parseEventLogs({ abi, eventName: "Withdrawn", logs: receipt.logs });
      return printResult(options.json, { channel: id, state: "closed", withdrawn: inOpen(withdrawn.args.amount) });
    }
    const left = deposit - collected;
    if (thawing === 0n) {
      if (left === 0n) return printResult(options.json, { channel: id, state: "empty", withdrawn: "0" });
      await session.transact("Announcing the withdrawal", "channels", "startThaw", [id, left]);
    }
    const after = await readChannel(session, id);
    printResult(options.json, {
      channel: id,
      state: "thawing",
      amount: inOpen(after.thawing),
      readyAt: new Date(after.readyAt * 1_000).toISOString(),
      next: `openledger channel close ${id}`,
    });
  });
}

export async function showChannel(id: number, options: ChainOptions): Promise<void> {
  const { deposit, collected, thawing, readyAt, ...rest } = await readChannel(await openChain(options), id);
  printResult(options.json, {
    channel: id,
    ...rest,
    deposit: inOpen(deposit),
    collected: inOpen(collected),
    left: inOpen(deposit - collected),
    ...(thawing > 0n ? { thawing: inOpen(thawing), readyAt: new Date(readyAt * 1_000).toISOString() } : {}),
  });
}

async function readChannel({ client, deployment }: ChainView, id: number) {
  const channels = contractOf(deployment, "channels");
  const [[operator, sessionKey, deposit], collected, payer, [thawing, readyAt]] = await Promise.all([
    client.readContract({ ...channels, functionName: "channelOf", args: [id] }),
    client.readContract({ ...channels, functionName: "collectedOf", args: [id] }),
    client.readContract({ ...channels, functionName: "payerOf", args: [id] }),
    client.readContract({ ...channels, functionName: "thawOf", args: [id] }),
  ]);
  if (operator === 0) throw new Error(`There is no channel ${id}.`);
  return { operator, payer, sessionKey, deposit, collected, thawing, readyAt };
}

async function checkBalance({ client, deployment, account }: Session, amount: bigint): Promise<void> {
  const args = [account.address] as const;
  const held = await client.readContract({ ...contractOf(deployment, "token"), functionName: "balanceOf", args });
  if (held < amount) throw new Error(`${account.address} holds ${inOpen(held)} OPEN, not ${inOpen(amount)}.`);
}

/** Signs that the channels may take an amount (EIP-2612): one transaction instead of two. */
async function permit({ client, deployment, account }: Session, value: bigint) {
  const token = contractOf(deployment, "token");
  const [nonce, block] = await Promise.all([
    client.readContract({ ...token, functionName: "nonces", args: [account.address] }),
    client.getBlock(),
  ]);
  const deadline = block.timestamp + PERMIT_LIFE;
  const spender = contractOf(deployment, "channels").address;
  const signature = await account.signTypedData({
    domain: { name: "OpenLedger", version: "1", chainId: deployment.chainId, verifyingContract: token.address },
    types: {
      Permit: [
        { name: "owner", type: "address" },
        { name: "spender", type: "address" },
        { name: "value", type: "uint256" },
        { name: "nonce", type: "uint256" },
        { name: "deadline", type: "uint256" },
      ],
    },
    primaryType: "Permit",
    message: { owner: account.address, spender, value, nonce, deadline },
  });
  const { r, s, yParity } = parseSignature(signature);
  return { deadline, v: 27 + yParity, r, s };
}

/** Makes the key that signs vouchers, and keeps it before any OPEN depends on it. */
async function newSessionKey(chainId: number): Promise<{ sessionKey: Hex; keystore: string }> {
  const key = generatePrivateKey();
  const sessionKey = privateKeyToAddress(key);
  const keystore = join(openLedgerHome(), "sessions", `${chainId}-${sessionKey.toLowerCase()}.json`);
  await writeKeystore(keystore, key, await askPassword("Password for the session key: "));
  return { sessionKey, keystore };
}
