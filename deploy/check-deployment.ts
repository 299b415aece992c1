import { artifacts } from "hardhat";
import type { NetworkConnection } from "hardhat/types/network";
import { type Address, getContract, isAddressEqual, keccak256, toBytes, zeroHash } from "viem";
import type { Deployment, Roles } from "./deployment.ts";
import type { NetworkParameters } from "./networks.ts";

/**
 * Reads every immutable and every wire back from the chain and compares it with what was asked for.
 *
 * @returns how many values were compared
 * @throws Error that lists each value that differs
 */
export async function checkDeployment(
  connection: NetworkConnection,
  deployment: Deployment,
  network: NetworkParameters,
  roles: Roles,
): Promise<number> {
  const at = deployment.contracts;
  const client = await connection.viem.getPublicClient();
  const { windows } = network;
  const lag = windows.posting + windows.voucherLife;
  const settling = windows.challenge + windows.reveal + windows.check + windows.collect;
  const floor = BigInt(windows.thaw + windows.challenge + 1);
  const registries = [at.dataNets, at.adapters, at.prompts, at.tools, at.agents];

  const expected: [contract: string, address: Address, getter: string, value: unknown, args?: unknown[]][] = [
    ["OpenToken", at.token, "totalSupply", 1_000_000_000n * 10n ** 18n],
    ["ProtocolTimelock", at.timelock, "FLOOR", floor],
    ["ProtocolTimelock", at.timelock, "hasRole", true, [keccak256(toBytes("PROPOSER_ROLE")), roles.proposer]],
    // The timelock administers itself; whoever deployed it has no say.
    ["ProtocolTimelock", at.timelock, "hasRole", false, [zeroHash, roles.deployer]],
    ["ProtocolParameters", at.parameters, "treasury", roles.treasury],
    ["ProtocolTimelock", at.timelock, "getMinDelay", BigInt(network.timelockDelay)],
    ["ProtocolParameters", at.parameters, "owner", at.timelock],
    ["ProtocolParameters", at.parameters, "LAG", lag],
    ["ProtocolParameters", at.parameters, "minimumBond", network.minimumBond],
    ["ProtocolParameters", at.parameters, "demandFee", network.demandFee],
    ["ProtocolParameters", at.parameters, "protocolShareAt", network.protocolShare, [0n]],
    ["IdAllocator", at.allocator, "registries", registries],
    ["DataNetRegistry", at.dataNets, "ALLOCATOR", at.allocator],
    ["AdapterRegistry", at.adapters, "ALLOCATOR", at.allocator],
    ["AdapterRegistry", at.adapters, "DATANETS", at.dataNets],
    ["PromptRegistry", at.prompts, "ALLOCATOR", at.allocator],
    ["ToolRegistry", at.tools, "ALLOCATOR", at.allocator],
    ["AgentRegistry", at.agents, "ALLOCATOR", at.allocator],
    ["AgentRegistry", at.agents, "DATANETS", at.dataNets],
    ["AgentRegistry", at.agents, "ADAPTERS", at.adapters],
    ["AgentRegistry", at.agents, "PROMPTS", at.prompts],
    ["AgentRegistry", at.agents, "TOOLS", at.tools],
    ["OperatorRegistry", at.operators, "TOKEN", at.token],
    ["OperatorRegistry", at.operators, "UNBONDING", windows.unbonding],
    ["OperatorRegistry", at.operators, "settlement", at.settlement],
    ["PaymentChannels", at.channels, "TOKEN", at.token],
    ["PaymentChannels", at.channels, "OPERATORS", at.operators],
    ["PaymentChannels", at.channels, "THAW", windows.thaw],
    ["PaymentChannels", at.channels, "settlement", at.settlement],
    ["ReceiptVerifier", at.verifier, "AGENTS", at.agents],
    ["ReceiptVerifier", at.verifier, "ADAPTERS", at.adapters],
    ["ReceiptVerifier", at.verifier, "DATA_NETS", at.dataNets],
    ["ReceiptVerifier", at.verifier, "CHANNELS", at.channels],
    ["ReceiptVerifier", at.verifier, "PARAMETERS", at.parameters],
    ["ReceiptVerifier", at.verifier, "VOUCHER_LIFE", windows.voucherLife],
    ["ReceiptVerifier", at.verifier, "POSTING", windows.posting],
    ["ReceiptVerifier", at.verifier, "LAG", lag],
    ["ReceiptVerifier", at.verifier, "SETTLING", settling],
    ["AttributionSettlement", at.settlement, "TOKEN", at.token],
    ["AttributionSettlement", at.settlement, "ALLOCATOR", at.allocator],
    ["AttributionSettlement", at.settlement, "OPERATORS", at.operators],
    ["AttributionSettlement", at.settlement, "CHANNELS", at.channels],
    ["AttributionSettlement", at.settlement, "PARAMETERS", at.parameters],
    ["AttributionSettlement", at.settlement, "VERIFIER", at.verifier],
    ["AttributionSettlement", at.settlement, "CHALLENGE", windows.challenge],
    ["AttributionSettlement", at.settlement, "REVEAL", windows.reveal],
    ["AttributionSettlement", at.settlement, "CHECK", windows.check],
    ["AttributionSettlement", at.settlement, "COLLECT", windows.collect],
    ["AttributionSettlement", at.settlement, "LAG", lag],
  ];
  if (at.faucet) {
    expected.push(
      ["TestFaucet", at.faucet, "TOKEN", at.token],
      ["TestFaucet", at.faucet, "AMOUNT", network.faucetDrip],
    );
  }

  const wrong: string[] = [];
  for (const [name, address, getter, value, args = []] of expected) {
    const { abi } = await artifacts.readArtifact(name);
    const found = await getContract({ abi, address, client }).read[getter](args);
    if (!same(found, value)) wrong.push(`${name}.${getter} at ${address} is ${found}, not ${value}`);
  }
  if (wrong.length > 0) throw new Error(`The deployment is not what was asked for:\n  ${wrong.join("\n  ")}`);
  return expected.length;
}

function same(found: unknown, wanted: unknown): boolean {
  if (Array.isArray(found) && Array.isArray(wanted)) {
    return found.length === wanted.length && found.every((value, index) => same(value, wanted[index]));
  }
  if (typeof found === "string" && typeof wanted === "string") {
    return isAddressEqual(found as Address, wanted as Address);
  }
  return found === wanted;
}
