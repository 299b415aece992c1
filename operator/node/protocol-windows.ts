import { type PublicClient, parseAbi } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { contractOf } from "../chain/contracts.ts";
import type { Windows } from "../protocol/bounds.ts";

/** Times that the contracts hold, in seconds. */
export interface ProtocolWindows extends Windows {
  challenge: number;
  reveal: number;
  check: number;
  collect: number;
}

const VERIFIER = parseAbi([
  "function VOUCHER_LIFE() view returns (uint40)",
  "function POSTING() view returns (uint40)",
  "function SETTLING() view returns (uint40)",
]);

/** Reads them from the contracts, so that no configuration can contradict them. */
export async function readWindows(client: PublicClient, deployment: Deployment): Promise<ProtocolWindows> {
  const settlement = contractOf(deployment, "settlement");
  const verifier = { address: deployment.contracts.verifier, abi: VERIFIER };
  const [voucherLife, posting, settling, challenge, reveal, check, collect] = await Promise.all([
    client.readContract({ ...verifier, functionName: "VOUCHER_LIFE" }),
    client.readContract({ ...verifier, functionName: "POSTING" }),
    client.readContract({ ...verifier, functionName: "SETTLING" }),
    client.readContract({ ...settlement, functionName: "CHALLENGE" }),
    client.readContract({ ...settlement, functionName: "REVEAL" }),
    client.readContract({ ...settlement, functionName: "CHECK" }),
    client.readContract({ ...settlement, functionName: "COLLECT" }),
  ]);
  return { voucherLife, posting, settling, challenge, reveal, check, collect };
}
