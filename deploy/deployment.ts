import type { NetworkConnection } from "hardhat/types/network";
import { type Address, isAddressEqual } from "viem";
import openLedger from "./modules/OpenLedger.ts";
import testNetwork from "./modules/TestNetwork.ts";
import type { NetworkParameters } from "./networks.ts";

/** Where the contracts of one chain are. */
export interface Deployment {
  chainId: number;
  /** Block from which the registries' events are to be read. */
  fromBlock: number;
  contracts: Record<ContractName, Address> & { faucet?: Address };
}

type ContractName =
  | "token"
  | "timelock"
  | "parameters"
  | "allocator"
  | "dataNets"
  | "adapters"
  | "prompts"
  | "tools"
  | "agents"
  | "operators"
  | "channels"
  | "verifier"
  | "settlement";

/** Who gets what. */
export interface Roles {
  deployer: Address;
  /** Receives the whole supply of OPEN. */
  holder: Address;
  /** May propose changes of the parameters, and cancel them. */
  proposer: Address;
  /** Receives the protocol's share. */
  treasury: Address;
}

/**
 * Deploys and wires every contract, and the faucet on test networks. On a network over HTTP, Ignition journals each
 * transaction, so running it again after a failure goes on where it stopped and never deploys twice.
 */
export async function deployOpenLedger(
  connection: NetworkConnection,
  network: NetworkParameters,
  roles: Roles,
  options: {
    /** Name of Ignition's journal. */ deploymentId?: string /** Show Ignition's progress. */;
    progress?: boolean;
  } = {},
): Promise<Deployment> {
  const client = await connection.viem.getPublicClient();
  // Ignition journals the block of each transaction; the head before the first is early enough on every chain.
  const fromBlock = Number(await client.getBlockNumber());
  const shared = {
    windows: { ...network.windows },
    holder: roles.holder,
    proposer: roles.proposer,
    timelockDelay: network.timelockDelay,
    initialParameters: {
      protocolSharePpm: network.protocolShare,
      minimumBond: network.minimumBond,
      demandFee: network.demandFee,
      treasury: roles.treasury,
    },
  };
  const contracts = await connection.ignition.deploy(network.main ? openLedger : testNetwork, {
    parameters: { OpenLedger: shared, TestNetwork: { drip: network.faucetDrip } },
    displayUi: options.progress ?? false,
    deploymentId: options.deploymentId,
  });
  const addresses = Object.fromEntries(
    Object.entries(contracts).map(([name, contract]) => [name, (contract as { address: Address }).address]),
  );
  const deployment = { chainId: await client.getChainId(), fromBlock, contracts: addresses as Deployment["contracts"] };
  if (isAddressEqual(roles.holder, roles.deployer)) await fillFaucet(connection, deployment, network);
  return deployment;
}

/** Gives the faucet enough for a thousand visits, once. */
async function fillFaucet(connection: NetworkConnection, { contracts }: Deployment, network: NetworkParameters) {
  if (!contracts.faucet) return;
  const client = await connection.viem.getPublicClient();
  const token = await connection.viem.getContractAt("OpenToken", contracts.token);
  if ((await token.read.balanceOf([contracts.faucet])) > 0n) return;
  const hash = await token.write.transfer([contracts.faucet, 1_000n * network.faucetDrip]);
  await client.waitForTransactionReceipt({ hash });
}
