import type { AssetAmount, PaymentRequirements, Price, SchemeNetworkServer } from "@x402/core/types";
import { parseEther } from "viem";
import type { Hex } from "../../protocol/bytes.ts";
import { VOUCHER_DOMAIN_NAME, VOUCHER_DOMAIN_VERSION } from "../../protocol/voucher.ts";
import { PaymentError } from "../payment-error.ts";
import { VOUCHER_SCHEME } from "./wire.ts";

const DECIMALS = 18;

/**
 * This scheme for the resource server of `@x402/core`. A route's price is an amount of OPEN (`"0.01 OPEN"` or `"0.01"`)
 * or one in wei; the route's `extra` names `operator`, `agent`, `version` and `prices`, as `requirementsOf` writes them.
 *
 * @param asset Address of OPEN.
 */
export function voucherServer(asset: Hex): SchemeNetworkServer {
  return {
    scheme: VOUCHER_SCHEME,
    defaultAssetTransferMethod: "default",
    // The voucher is admitted before the answer is made: a failed admission costs the operator nothing.
    paymentFlows: { default: { supported: ["upfront"], default: "upfront" } },
    // Changes from one answer to the next, without the terms being others.
    dynamicExtraFields: ["statement"],
    async parsePrice(price: Price): Promise<AssetAmount> {
      if (typeof price === "object") return price;
      const match = /^(\d+(?:\.\d{1,18})?)(?: OPEN)?$/.exec(String(price).trim());
      if (match) return { asset, amount: String(parseEther(match[1])) };
      throw new PaymentError("malformed", `${price} is not an amount of OPEN: it has no price in other money here.`);
    },
    getAssetDecimals: (given) => (given.toLowerCase() === asset.toLowerCase() ? DECIMALS : undefined),
    async enhancePaymentRequirements(requirements: PaymentRequirements): Promise<PaymentRequirements> {
      const { network, payTo, extra } = requirements;
      const chainId = Number(network.slice("eip155:".length));
      const domain = {
        name: VOUCHER_DOMAIN_NAME,
        version: VOUCHER_DOMAIN_VERSION,
        chainId,
        verifyingContract: payTo.toLowerCase(),
      };
      return { ...requirements, payTo: payTo.toLowerCase(), extra: { ...extra, domain } };
    },
  };
}
