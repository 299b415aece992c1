import type { Address } from "viem";
import type { MirrorStore } from "./mirror-store.ts";

export interface OperatorEntry {
  id: number;
  owner: Address;
  signer: Address;
  endpoint: string;
}

export function operatorIn(store: MirrorStore, id: number): OperatorEntry | undefined {
  const [registered] = store.facts("OperatorRegistered", id);
  if (!registered) return undefined;
  const latest = (kind: string) => store.facts(kind, id).at(-1)?.data;
  return {
    id,
    owner: registered.data.owner as Address,
    signer: (latest("SignerSet")?.signer ?? registered.data.signer) as Address,
    endpoint: (latest("EndpointSet")?.endpoint ?? registered.data.endpoint) as string,
  };
}
