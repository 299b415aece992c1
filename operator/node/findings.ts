import type { JobFinding } from "../auditing/auditor.ts";
import type { Finding } from "../settlement/watcher.ts";

/** What a round of watching has found: of a batch by replaying it, or of a job by doing it again. */
export type Found = Finding | JobFinding;

const WELL: ReadonlySet<Found["what"]> = new Set(["honest", "final", "verified"]);

/** Whether somebody has to look at it. */
export function isTrouble({ what }: Found): boolean {
  return !WELL.has(what);
}

/** Whether an operator was caught at something. */
export function isCaught({ what }: Found): boolean {
  return what === "lie" || what === "misattributed";
}

/** A finding in one line. */
export function findingLine(found: Found): string {
  const { operator, height, what, detail } = found;
  const job = "job" in found ? `job ${found.job} in ` : "";
  const evidence = "evidence" in found ? `; evidence: ${found.evidence}` : "";
  return `${job}batch ${height} of operator ${operator}: ${what} (${detail})${evidence}`;
}
