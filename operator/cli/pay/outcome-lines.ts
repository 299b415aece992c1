import type { Credited } from "../../api/attribution.ts";
import type { PayerBalance } from "../../payments/payer/payer-ledger.ts";
import type { PaidOutcome } from "../../payments/paying-fetch.ts";
import { inOpen } from "../chain/chain-session.ts";

/** What a job came to, in one line. */
export function outcomeLine({ jobId, model, outcome }: PaidOutcome, { charged, exposure }: PayerBalance): string {
  const name = printable(model);
  if (outcome.state !== "completed") {
    const reason = outcome.state === "failed" ? `: ${printable(outcome.reason)}` : "";
    return `${name}  not charged${reason}  job ${jobId}`;
  }
  const stake = `channel ${inOpen(charged)} charged, ${inOpen(exposure)} at most`;
  return `${name}  ${inOpen(outcome.charge.price)} OPEN  job ${jobId}  (${stake})`;
}

/** Text of others without what would steer a terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

const CLASSES = {
  publisher: "agent",
  adapters: "adapter",
  prompt: "prompt",
  context: "data, read",
  training: "data, trained on",
  tools: "tool",
} as const;

/** Who earned by an answer, one line each, as its `attribution` says; nothing for parts that cannot be read. */
export function earnerLines(attribution: unknown): string[] {
  if (typeof attribution !== "object" || attribution === null) return [];
  const parts = attribution as Record<string, unknown>;
  const lines: string[] = [];
  for (const [member, what] of Object.entries(CLASSES)) {
    const entries = Array.isArray(parts[member]) ? parts[member] : [parts[member]];
    for (const entry of entries) {
      const amount = weiOf((entry as Partial<Credited> | null)?.amount);
      if (!amount) continue;
      const { id, name } = entry as Credited;
      const label = typeof name === "string" ? `${printable(name)} (${Number(id)})` : `${Number(id)}`;
      lines.push(`${inOpen(amount).padEnd(22)} ${what} ${label}`);
    }
  }
  for (const member of ["operator", "treasury"]) {
    const amount = weiOf(parts[member]);
    if (amount) lines.push(`${inOpen(amount).padEnd(22)} ${member}`);
  }
  return lines;
}

function weiOf(amount: unknown): bigint | undefined {
  return typeof amount === "string" && /^\d{1,39}$/.test(amount) ? BigInt(amount) : undefined;
}
