import { chunkCount } from "../protocol/batch-tree.ts";
import { toHex } from "../protocol/bytes.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { VERDICT, type Verdict, verdictName } from "../protocol/verdict.ts";
import type { ChainPort } from "./chain-port.ts";
import { SettlementError } from "./errors.ts";
import type { Fall } from "./rebuild-books.ts";

/** Verdicts that say this program has written its batches wrongly: writing them again would lose the next bond. */
const OUR_FAULT: ReadonlySet<Verdict> = new Set([
  VERDICT.missingReceipt,
  VERDICT.oversizedBody,
  VERDICT.finalStateMismatch,
  VERDICT.lengthMismatch,
  VERDICT.malformedBody,
  VERDICT.nonceUsed,
  VERDICT.priceAboveMaximum,
  VERDICT.capExceeded,
  VERDICT.attributionUnsorted,
  VERDICT.attributionSum,
  VERDICT.overflow,
  VERDICT.wrongState,
]);

/**
 * Why batches fell, as the chain tells it.
 *
 * What made the lowest one fall has to be seen. A node that has not read as far gives no proofs and no error; taking that
 * for "its data were withheld" would post the lie again, and lose the next bond.
 *
 * @param fallen Ascending; the lowest one is what fell, the others fell with it.
 * @throws {SettlementError} `batchDisputed` when this program must have written a batch wrongly, `fallUnexplained` when
 * the chain does not tell yet.
 */
export async function causeOfFall(
  chain: ChainPort,
  fallen: readonly BatchHeader[],
): Promise<Pick<Fall, "lies" | "reason">> {
  const lies: Fall["lies"][number][] = [];
  for (const header of fallen) {
    const lie = await chain.provenLie(header.operator, toHex(headerHash(header)));
    if (!lie) continue;
    const { index, verdict } = lie;
    if (OUR_FAULT.has(verdict)) {
      const details = { height: String(header.height), index: String(index), verdict: verdictName(verdict) };
      const message = `Batch ${header.height} fell by what this program wrote (receipt ${index}: ${details.verdict}).`;
      throw new SettlementError("batchDisputed", `${message} Nothing is posted before it is mended.`, details);
    }
    lies.push({ batch: Number(header.sequence), index, verdict });
  }
  const [lowest] = fallen;
  if (lies.some(({ batch }) => batch === Number(lowest.sequence)))
    return { lies, reason: "a receipt was proven a lie" };
  if (await wasWithheld(chain, lowest)) return { lies, reason: "its data were withheld" };
  const message = `Batch ${lowest.height} fell, and the chain's endpoint does not say why.`;
  throw new SettlementError("fallUnexplained", message, { height: String(lowest.height) });
}

async function wasWithheld(chain: ChainPort, header: BatchHeader): Promise<boolean> {
  const hash = toHex(headerHash(header));
  for (let chunk = 0; chunk < chunkCount(header.count); chunk++) {
    if ((await chain.demandStatus(hash, chunk)) === "withheld") return true;
  }
  return false;
}
