import type { ChainReader } from "../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../operator/chain/mirror.ts";
import type { RegistryView } from "../../operator/protocol/registry-view.ts";
import type { Stage } from "./stage.ts";

/** The registries as the newest block has them, for what is over before the chain changes. */
export async function readChainView(stage: Stage): Promise<RegistryView> {
  const reader = stage.client as unknown as ChainReader;
  const mirror = new RegistryMirror({ file: ":memory:", reader, deployment: stage.deployment, confirmations: 0 });
  await mirror.sync();
  return {
    channel: (id) => mirror.channel(id),
    agentVersion: (agent, version) => mirror.agentVersion(agent, version),
    contribution: (id) => mirror.contribution(id),
    lineage: (adapter, version, index) => mirror.lineage(adapter, version, index),
    protocolShareAt: (time) => mirror.protocolShareAt(time),
  };
}
