// A payer in a process of its own, for tests that kill it or run several: node payer-process.ts '<JSON>'.

import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { fromHex, type Hex } from "../../../operator/protocol/bytes.ts";

export interface PayerTask {
  file: string;
  channel: number;
  privateKey: Hex;
  chainId: number;
  verifyingContract: Hex;
  time: number;
  url: string;
  questions: string[];
  /** Where it kills itself with its first voucher. */
  dies?: "beforeSending" | "afterTheAnswer";
}

const task = JSON.parse(process.argv[2]) as PayerTask;
const { file, channel, verifyingContract, dies } = task;
const domain = { chainId: BigInt(task.chainId), verifyingContract };
const privateKey = fromHex(task.privateKey);
const ledger = new PayerLedger({ file, channel, privateKey, domain, clock: () => task.time });
const send: typeof fetch = async (input, init) => {
  const isPaid = new Headers(init?.headers).has("payment-signature");
  if (isPaid && dies === "beforeSending") process.kill(process.pid, "SIGKILL");
  const response = await fetch(input, init);
  if (isPaid && dies === "afterTheAnswer") process.kill(process.pid, "SIGKILL");
  return response;
};
const pay = payingFetch({ ledger, fetch: send });
const answers = task.questions.map(async (content) => {
  const body = JSON.stringify({ model: "rivers", messages: [{ role: "user", content }] });
  const response = await pay(`${task.url}/v1/chat/completions`, { method: "POST", body });
  if (!response.ok) throw new Error(`answered ${response.status}`);
  return response.json();
});
await Promise.all(answers);
ledger.close();
