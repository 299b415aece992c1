import type { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { fromHex } from "../../../operator/protocol/bytes.ts";
import { priceOf } from "../../../operator/protocol/price.ts";
import { encodeReceipt, type Receipt } from "../../../operator/protocol/receipt.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";
import type { JobEvidence } from "../../../operator/serving/verify-job.ts";

const SALT = new Uint8Array(32).fill(5);

/** What an operator shows of a job that it has charged. Signatures are the settlement's to check. */
export function shownJob(
  mirror: RegistryMirror,
  agent: { agent: number; version: number },
  body: object,
  answer: ServedAnswer,
  changes: Partial<Receipt> = {},
): JobEvidence & { response: Uint8Array } {
  const maxPrice = 10n ** 18n;
  const request = Buffer.from(JSON.stringify({ body }));
  const response = Buffer.from(JSON.stringify({ choices: [{ message: { content: answer.text } }] }));
  const { context, training, tools: tool, promptTokens, completionTokens } = answer;
  const receipt = encodeReceipt({
    voucher: {
      ...{ channel: 1, nonce: 1n, ...agent, maxPrice, cap: maxPrice, expiry: 1n },
      requestHash: saltedHash(SALT, request),
      signature: new Uint8Array(65),
    },
    responseHash: saltedHash(SALT, response),
    traceHash: fromHex(answer.traceHash),
    ...{ promptTokens, completionTokens, context, training, tool },
    price: priceOf(mirror.composition(agent.agent, agent.version)!, answer, maxPrice),
    ...changes,
  });
  return { trace: answer.trace, receipt, completedAt: mirror.head()!.time, salt: SALT, request, response };
}
