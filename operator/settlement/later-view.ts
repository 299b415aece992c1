import { judgeAttribution } from "../protocol/attribution-rules.ts";
import { registryLag, type Windows } from "../protocol/bounds.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import type { RegistryView } from "../protocol/registry-view.ts";
import { VERDICT } from "../protocol/verdict.ts";
import type { OpenBooks } from "./books.ts";

/**
 * Whether an open batch may take a later view of the registries and stay as it is: each receipt still follows the rules,
 * and is shared out as before. Otherwise whoever registers something and pays for a job with it could close a batch at
 * will, and there are 32 places for those that wait to become final.
 *
 * @param time B of the later view, seconds since 1970.
 */
export function standsLater(
  { registryTime, receipts }: OpenBooks,
  time: number,
  { registry, windows }: { registry: RegistryView; windows: Windows },
): boolean {
  if (registry.protocolShareAt(time) !== registry.protocolShareAt(registryTime)) return false;
  const moment = { registry, registryTime: time, lag: registryLag(windows) };
  return receipts.every(({ body }) => {
    const receipt = decodeReceipt(body);
    const { agent, version } = receipt.voucher;
    return judgeAttribution(receipt, registry.agentVersion(agent, version)!.composition, moment) === VERDICT.valid;
  });
}
