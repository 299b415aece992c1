import { readFileSync } from "node:fs";
import { readAddresses } from "../../../deploy/addresses.ts";
import type { Deployment } from "../../../deploy/deployment.ts";
import { type NodeConfig, readConfig } from "../../node/config.ts";
import type { NodeFileOptions, StartOptions } from "../operator.ts";

/** The configuration with what the command line and the environment say over it. */
export function readNodeFile(options: NodeFileOptions & Partial<StartOptions>): NodeConfig {
  const { config, rpc, addresses, redis, keystore, data, model, host, port, sequencer } = options;
  return readConfig(config, { rpc, addresses, redis, keystore, data, model, host, port, sequencerUrl: sequencer });
}

/** Where the contracts of a chain are: in the file that the configuration names, or as known of the chain. */
export function deploymentFrom({ chain }: Pick<NodeConfig, "chain">): (chainId: number) => Deployment {
  return (chainId) => {
    if (chain.addresses === undefined) return readAddresses(chainId);
    const deployment = JSON.parse(readFileSync(chain.addresses, "utf8")) as Deployment;
    if (deployment.chainId === chainId) return deployment;
    throw new Error(`${chain.addresses} is of chain ${deployment.chainId}, but chain.rpc leads to chain ${chainId}.`);
  };
}
