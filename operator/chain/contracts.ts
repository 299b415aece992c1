import type { Abi, Address } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { adapterRegistryAbi } from "./abi/adapter-registry.ts";
import { agentRegistryAbi } from "./abi/agent-registry.ts";
import { attributionSettlementAbi } from "./abi/attribution-settlement.ts";
import { dataNetRegistryAbi } from "./abi/data-net-registry.ts";
import { idAllocatorAbi } from "./abi/id-allocator.ts";
import { openTokenAbi } from "./abi/open-token.ts";
import { operatorRegistryAbi } from "./abi/operator-registry.ts";
import { paymentChannelsAbi } from "./abi/payment-channels.ts";
import { promptRegistryAbi } from "./abi/prompt-registry.ts";
import { protocolParametersAbi } from "./abi/protocol-parameters.ts";
import { testFaucetAbi } from "./abi/test-faucet.ts";
import { toolRegistryAbi } from "./abi/tool-registry.ts";

/** ABIs by the names that a deployment gives the contracts. */
export const ABIS = {
  token: openTokenAbi,
  faucet: testFaucetAbi,
  parameters: protocolParametersAbi,
  allocator: idAllocatorAbi,
  dataNets: dataNetRegistryAbi,
  adapters: adapterRegistryAbi,
  prompts: promptRegistryAbi,
  tools: toolRegistryAbi,
  agents: agentRegistryAbi,
  operators: operatorRegistryAbi,
  channels: paymentChannelsAbi,
  settlement: attributionSettlementAbi,
} as const;

export type ContractKey = keyof typeof ABIS;

/** Address and ABI of a contract, as viem's `readContract` and `encodeFunctionData` take them. */
export function contractOf<K extends ContractKey>(
  deployment: Deployment,
  key: K,
): { address: Address; abi: (typeof ABIS)[K] } {
  const address = deployment.contracts[key];
  if (!address) throw new Error(`Chain ${deployment.chainId} has no ${key}.`);
  return { address, abi: ABIS[key] };
}

/** Every custom error of every contract: contracts pass on what those they call have said. */
export const ALL_ERRORS: Abi = Object.values(ABIS).flatMap((abi) =>
  (abi as Abi).filter((entry) => entry.type === "error"),
);
