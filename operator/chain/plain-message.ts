/**
 * An error in a sentence. What viem says at length names the endpoint, and endpoints carry their users' keys.
 */
export function plainMessage(error: unknown): string {
  const { shortMessage, details } = error as { shortMessage?: string; details?: string };
  if (shortMessage === undefined) return error instanceof Error ? error.message : String(error);
  return details && !shortMessage.includes(details) ? `${shortMessage} ${details}` : shortMessage;
}
