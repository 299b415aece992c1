/** `DemandStatus` of the contract, in its order. */
export const DEMAND_STATUSES = ["none", "open", "revealed", "withheld", "refunded"] as const;

/** What has become of a demand for receipts. */
export type DemandStatus = (typeof DEMAND_STATUSES)[number];
