// A chain inside this process with everything deployed: where the demo and the settlement benchmark play.
import { network } from "hardhat";
import type { Hash } from "viem";
import { type Deployment, deployOpenLedger } from "../../deploy/deployment.ts";
import { type NetworkParameters, networkParameters, type WindowSeconds } from "../../deploy/networks.ts";
import { domainSeparator } from "../../operator/protocol/voucher.ts";
import { buildContracts } from "../build-contracts.ts";

export type Stage = Awaited<ReturnType<typeof openStage>>;

/**
 * Builds and deploys the contracts on a fresh local chain. Time moves only as transactions and `wait` move it.
 *
 * @param options.harness builds the tests' contracts as well, for whoever deploys some of them
 * @param options.windows other windows than the local network's
 * @param options.blockEvery milliseconds after which a block is mined without a transaction: time then moves by itself
 */
export async function openStage(
  options: { harness?: boolean; windows?: Partial<WindowSeconds>; blockEvery?: number } = {},
) {
  buildContracts({ tests: options.harness });
  // Otherwise each block is at least a second after the last, and many blocks a second run ahead of the time.
  const override = { allowBlocksWithSameTimestamp: options.blockEvery !== undefined };
  const connection = await network.create({ network: "local", override });
  const { viem, networkHelpers } = connection;
  const client = await viem.getPublicClient();
  const wallets = await viem.getWalletClients();
  const local = networkParameters("local");
  const parameters: NetworkParameters = { ...local, windows: { ...local.windows, ...options.windows } };
  const [deployer] = wallets.map(({ account }) => account.address);
  const roles = { deployer, holder: deployer, proposer: deployer, treasury: wallets[1].account.address };
  const deployment: Deployment = await deployOpenLedger(connection, parameters, roles);
  const at = deployment.contracts;
  const contracts = {
    token: await viem.getContractAt("OpenToken", at.token),
    parameters: await viem.getContractAt("ProtocolParameters", at.parameters),
    allocator: await viem.getContractAt("IdAllocator", at.allocator),
    dataNets: await viem.getContractAt("DataNetRegistry", at.dataNets),
    adapters: await viem.getContractAt("AdapterRegistry", at.adapters),
    prompts: await viem.getContractAt("PromptRegistry", at.prompts),
    tools: await viem.getContractAt("ToolRegistry", at.tools),
    agents: await viem.getContractAt("AgentRegistry", at.agents),
    operators: await viem.getContractAt("OperatorRegistry", at.operators),
    channels: await viem.getContractAt("PaymentChannels", at.channels),
    settlement: await viem.getContractAt("AttributionSettlement", at.settlement),
  };
  if (options.blockEvery !== undefined) {
    await connection.provider.request({ method: "evm_setIntervalMining", params: [options.blockEvery] });
  }
  return {
    connection,
    client,
    wallets,
    parameters,
    deployment,
    contracts,
    separator: domainSeparator({ chainId: BigInt(deployment.chainId), verifyingContract: at.channels }),
    /** Gas of a transaction, once it is mined. */
    async gasOf(sent: Promise<Hash>): Promise<bigint> {
      const receipt = await client.waitForTransactionReceipt({ hash: await sent });
      if (receipt.status !== "success") throw new Error(`Transaction ${receipt.transactionHash} failed.`);
      return receipt.gasUsed;
    },
    /** Seconds since 1970 by the chain. */
    now: () => networkHelpers.time.latest(),
    /** Lets the chain's clock run on by so many seconds. */
    wait: (seconds: number) => networkHelpers.time.increase(seconds),
    close: () => connection.close(),
  };
}
