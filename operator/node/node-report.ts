import type { NodePart, PartReport } from "./node-base.ts";

/** What all parts of a node say of themselves. */
export function nodeReport(parts: readonly NodePart[]): PartReport {
  const reports = parts.flatMap(({ report }) => (report ? [report()] : []));
  const lastSettlement = reports.find((report) => report.lastSettlement !== undefined)?.lastSettlement;
  const alarms = reports.flatMap((report) => report.alarms);
  return { alarms, ...(lastSettlement !== undefined && { lastSettlement }) };
}
