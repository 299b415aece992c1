import { mkdirSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import type { Attribution } from "../../operator/api/attribution.ts";
import { openChannelFor } from "../../operator/cli/chain/channel.ts";
import { PayerLedger } from "../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../operator/payments/paying-fetch.ts";
import { decodePaymentSignature } from "../../operator/payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../../operator/payments/x402/wire.ts";
import { fromHex, type Hex, toHex } from "../../operator/protocol/bytes.ts";
import { voucherDigest } from "../../operator/protocol/voucher.ts";
import type { Stage } from "../stage/stage.ts";
import type { People, Person } from "./people.ts";

/** Somebody who pays, with a channel to one operator and the official OpenAI client. */
export interface Payer {
  person: Person;
  channel: number;
  sessionKey: Hex;
  ledger: PayerLedger;
  client: OpenAI;
  /** By job: what opens question, answer and trace to whoever is told it. */
  salts: Map<Hex, Hex>;
}

/** What came back for a question. Times are milliseconds. */
export interface Answer {
  text: string;
  jobId: Hex;
  attribution: Attribution;
  firstToken: number;
  total: number;
}

/** Gives somebody OPEN, opens a channel with part of it and a client that pays from it. */
export async function openPayer(
  { stage, people, folder }: { stage: Stage; people: People; folder: string },
  name: string,
  operator: { id: number; url: string },
  deposit: bigint,
): Promise<Payer> {
  const person = await people.get(name);
  await people.give(person, deposit);
  const sessionKey = generatePrivateKey();
  const asked = { operator: operator.id, amount: deposit, sessionKey: privateKeyToAddress(sessionKey) };
  const { channel } = await openChannelFor(person.session, asked);
  const { chainId, contracts } = stage.deployment;
  const domain = { chainId: BigInt(chainId), verifyingContract: contracts.channels };
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${chainId}-${channel}.sqlite`);
  const ledger = new PayerLedger({ file, channel, domain, privateKey: fromHex(sessionKey) });
  const salts = new Map<Hex, Hex>();
  const noting: typeof fetch = (input, init) => {
    const header = new Headers(init?.headers).get(PAYMENT_HEADERS.signature);
    if (header !== null) {
      const { voucher, salt } = decodePaymentSignature(header, domain);
      salts.set(toHex(voucherDigest(stage.separator, voucher)), salt);
    }
    return fetch(input, init);
  };
  const pay = payingFetch({ ledger, fetch: noting });
  const client = new OpenAI({ baseURL: `${operator.url}/v1`, apiKey: "none", fetch: pay, maxRetries: 0 });
  return { person, channel, sessionKey, ledger, client, salts };
}

/** Asks an agent a question, paid, the answer streamed. @param onText Told each piece of text as it comes. */
export async function ask(
  { client }: Payer,
  agent: string,
  question: string,
  onText: (text: string) => void = () => {},
): Promise<Answer> {
  const started = performance.now();
  const stream = await client.chat.completions.create({
    model: agent,
    messages: [{ role: "user", content: question }],
    temperature: 0,
    max_tokens: 64,
    stream: true,
  });
  let text = "";
  let firstToken = 0;
  let attribution: Attribution | undefined;
  for await (const chunk of stream) {
    const more = chunk.choices[0]?.delta.content ?? "";
    if (more !== "" && firstToken === 0) firstToken = performance.now() - started;
    text += more;
    onText(more);
    attribution ??= (chunk as unknown as { attribution?: Attribution }).attribution;
  }
  if (!attribution) throw new Error(`The answer of ${agent} came without its attribution.`);
  const total = performance.now() - started;
  return { text, jobId: attribution.job_id as Hex, attribution, firstToken, total };
}
