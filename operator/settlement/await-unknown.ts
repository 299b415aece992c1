import { TransactionFailed } from "../chain/transactions/transaction-errors.ts";
import type { TransactionSender } from "../chain/transactions.ts";

/**
 * Waits for what a sender has sent, in this process or the one before, until each is known to be mined or never to be.
 *
 * @param timeout Milliseconds for each.
 * @throws {TransactionUnknown} When one stays unknown.
 */
export async function awaitUnknown(sender: TransactionSender, timeout: number): Promise<void> {
  for (const { id } of sender.pending()) {
    try {
      await sender.wait(id, { timeout });
    } catch (error) {
      // A failure is known; what it was for shows in what the chain says next.
      if (!(error instanceof TransactionFailed)) throw error;
    }
  }
}
