import { isPartOf } from "../../protocol/attribution-rules.ts";
import type { ContributionInfo } from "../../protocol/registry-view.ts";
import type { MirrorStore } from "./mirror-store.ts";

type Contributions = (id: number) => ContributionInfo;

export function contributionIn(store: MirrorStore, id: number): ContributionInfo | undefined {
  const [submitted] = store.facts("ContributionSubmitted", id);
  if (!submitted) return undefined;
  const [accepted] = store.facts("ContributionAccepted", id);
  const [withdrawn] = store.facts("ContributionWithdrawn", id);
  return {
    dataNet: submitted.b,
    fromVersion: (accepted?.data.fromVersion as number | undefined) ?? 0,
    untilVersion: (withdrawn?.data.untilVersion as number | undefined) ?? 0,
    acceptedAt: accepted?.time ?? 0,
    withdrawnAt: withdrawn?.time ?? 0,
  };
}

/** The newest version of a DataNet; 0 before the first, undefined when there is no such DataNet. */
export function dataNetHeadIn(store: MirrorStore, id: number): number | undefined {
  if (store.facts("DataNetCreated", id).length === 0) return undefined;
  return store.facts("DataNetVersionPublished", id).length;
}

/** Ids of the contributions in a version of a DataNet, ascending. */
export function partsOf(
  store: MirrorStore,
  { dataNet, version }: { dataNet: number; version: number },
  contributionOf: Contributions,
): readonly number[] {
  return submittedTo(store, dataNet)
    .filter((id) => {
      const contribution = contributionOf(id);
      return contribution.acceptedAt > 0 && isPartOf(contribution, { dataNet, version });
    })
    .sort((one, other) => one - other);
}

/** Contributions to a DataNet that its curator has not decided upon, ascending. */
export function undecidedIn(store: MirrorStore, dataNet: number, contributionOf: Contributions): readonly number[] {
  return submittedTo(store, dataNet).filter((id) => {
    const { acceptedAt, withdrawnAt } = contributionOf(id);
    return acceptedAt === 0 && withdrawnAt === 0 && store.facts("ContributionRejected", id).length === 0;
  });
}

/** In the order in which they came, which is that of their ids. */
function submittedTo(store: MirrorStore, dataNet: number): number[] {
  return store.factsUnder("ContributionSubmitted", dataNet).map(({ a }) => a);
}
