import { network } from "hardhat";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import type { WorldAction } from "../../operator/protocol/memory-registry.ts";
import { createWorld, type World } from "../../operator/protocol/world.ts";

/** A deployed contract; argument and result shapes are those of its interface. */
export interface Contract {
  address: Hex;
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are those of the contract, known to the test
  read: Record<string, (...args: any[]) => Promise<any>>;
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are those of the contract, known to the test
  write: Record<string, (...args: any[]) => Promise<Hex>>;
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are those of the contract, known to the test
  getEvents: Record<string, (filter: object, range: object) => Promise<{ args: any }[]>>;
}

/** All contracts on a chain in this process. */
export interface ChainWorld {
  world: World;
  token: Contract;
  operators: Contract;
  channels: Contract;
  verifier: Contract;
  settlement: Contract;
  /** Performs what follows in a block at this time, seconds since 1970. */
  setNextTime(time: number): Promise<void>;
  /** Gas that a transaction took. */
  gasOf(transaction: Hex): Promise<bigint>;
  /** Does something and takes all its traces on the chain back. */
  undone<T>(work: () => Promise<T>): Promise<T>;
}

/** The windows of the main network, in seconds. */
export const WINDOWS = {
  voucherLife: 3_600,
  posting: 86_400,
  challenge: 86_400,
  reveal: 43_200,
  check: 43_200,
  collect: 86_400,
  thaw: 432_000,
  unbonding: 432_000,
};

const PROTOCOL_SHARE = 20_000;
const BOND = 10_000_000n * 10n ** 18n;
const CONTENT: Hex = `0x${"c0".repeat(32)}`;

/**
 * Deploys all contracts and does on the chain what happened in a random world, at the same times, so that both have
 * the same registries. The deployer owns everything and posts for operator 1.
 */
export async function mirrorWorld(seed: number): Promise<ChainWorld> {
  const { viem, networkHelpers } = await network.connect();
  const client = await viem.getPublicClient();
  const [deployer] = await viem.getWalletClients();
  const owner = deployer.account.address;
  const deploy = async (name: string, ...args: unknown[]): Promise<Contract> =>
    (await viem.deployContract(name as never, args as never)) as unknown as Contract;

  const token = await deploy("OpenToken", owner);
  const parameters = await deploy(
    "ProtocolParameters",
    owner,
    { protocolSharePpm: PROTOCOL_SHARE, minimumBond: 10n ** 18n, demandFee: 10n ** 15n, treasury: owner },
    WINDOWS,
  );
  const allocator = await deploy("IdAllocator");
  const dataNets = await deploy("DataNetRegistry", allocator.address);
  const adapters = await deploy("AdapterRegistry", allocator.address, dataNets.address);
  const prompts = await deploy("PromptRegistry", allocator.address);
  const tools = await deploy("ToolRegistry", allocator.address);
  const agents = await deploy("AgentRegistry", allocator.address, {
    dataNets: dataNets.address,
    adapters: adapters.address,
    prompts: prompts.address,
    tools: tools.address,
  });
  await allocator.write.wire([[dataNets, adapters, prompts, tools, agents].map(({ address }) => address)]);
  const operators = await deploy("OperatorRegistry", token.address, WINDOWS);
  const channels = await deploy("PaymentChannels", token.address, operators.address, WINDOWS);
  const verifier = await deploy(
    "ReceiptVerifier",
    agents.address,
    adapters.address,
    dataNets.address,
    channels.address,
    parameters.address,
    WINDOWS,
  );
  const settlement = await deploy(
    "AttributionSettlement",
    token.address,
    allocator.address,
    operators.address,
    channels.address,
    parameters.address,
    verifier.address,
    WINDOWS,
  );
  await operators.write.wire([settlement.address]);
  await channels.write.wire([settlement.address]);
  await token.write.approve([operators.address, 2n ** 255n]);
  await token.write.approve([channels.address, 2n ** 255n]);

  const { timestamp } = await client.getBlock();
  const world = createWorld({
    seed,
    chainId: BigInt(await client.getChainId()),
    verifyingContract: channels.address,
    start: Number(timestamp) + 1_000,
    protocolShare: PROTOCOL_SHARE,
    voucherLife: WINDOWS.voucherLife,
    posting: WINDOWS.posting,
  });
  const perform = async (action: WorldAction): Promise<unknown> => {
    switch (action.kind) {
      case "registerOperator":
        return operators.write.register(["https://operator.example", owner]);
      case "openChannel":
        return channels.write.open([action.operator, action.sessionKey, action.deposit]);
      case "createDataNet":
        return dataNets.write.createDataNet(["net", CONTENT, "", "MIT", []]);
      case "submit":
        return dataNets.write.submit([action.dataNet, CONTENT, "", "MIT", 1, 1, []]);
      case "accept":
        return dataNets.write.accept([action.ids]);
      case "publishDataNet":
        return dataNets.write.publishVersion([action.dataNet]);
      case "withdraw":
        return dataNets.write.withdraw([action.id]);
      case "registerAdapter": {
        const { lineage } = action;
        const version = {
          baseModel: toHex(action.baseModel),
          weightsHash: CONTENT,
          rank: 8,
          targetModules: "q",
          lineage,
        };
        return adapters.write.register(["adapter", version, "", "MIT", []]);
      }
      case "registerPrompt":
        return prompts.write.register(["prompt", CONTENT, [], "", "MIT", []]);
      case "registerTool":
        return tools.write.register(["tool", CONTENT, "https://tool.example", "", "MIT", []]);
      case "createAgent":
        return agents.write.create(["agent", CONTENT, "", "MIT", []]);
      case "publishAgent":
        return agents.write.publishVersion([action.agent, toHex(action.composition)]);
    }
  };
  const setNextTime = (time: number) => networkHelpers.time.setNextBlockTimestamp(time);
  for (const action of world.actions) {
    await setNextTime(action.time);
    await perform(action);
  }
  await operators.write.depositBond([world.operator, BOND]);

  return {
    world,
    token,
    operators,
    channels,
    verifier,
    settlement,
    setNextTime,
    gasOf: async (hash) => (await client.getTransactionReceipt({ hash })).gasUsed,
    undone: async (work) => {
      const snapshot = await networkHelpers.takeSnapshot();
      try {
        return await work();
      } finally {
        await snapshot.restore();
      }
    },
  };
}
