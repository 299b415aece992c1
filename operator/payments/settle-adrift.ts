import type { PayerLedger } from "./payer/payer-ledger.ts";
import { PaymentError } from "./payment-error.ts";
import { paymentOutcomeOf } from "./x402/payment-response.ts";

/** Jobs asked after at a time, and milliseconds for their answers: the request that waits meanwhile shall not wait long. */
const AT_A_TIME = 8;
const PATIENCE = 5_000;

/**
 * Asks the operator what became of jobs for which nobody waits any more (`GET /v1/jobs/:id`). What cannot be learned now
 * is asked another time.
 *
 * @throws {PaymentError} `operatorLied`.
 */
export async function settleAdrift(
  ledger: PayerLedger,
  operator: { url: string; headers: Headers; signal: AbortSignal },
  send: typeof fetch,
  patience = PATIENCE,
): Promise<void> {
  const [base] = operator.url.split(/\/v1\/(?!.*\/v1\/)/);
  const headers: Record<string, string> = { accept: "application/json" };
  const authorization = operator.headers.get("authorization");
  if (authorization !== null) headers.authorization = authorization;
  const signal = AbortSignal.any([operator.signal, AbortSignal.timeout(patience)]);
  const asked = ledger.adrift().slice(0, AT_A_TIME);
  await Promise.all(
    asked.map(async ({ jobId }) => {
      try {
        const response = await send(`${base}/v1/jobs/${jobId}`, { headers, signal, redirect: "manual" });
        const { payment, error } = (await response.json()) as { payment?: unknown; error?: { code?: unknown } };
        if (response.status === 404 && error?.code === "job_not_found") ledger.disown(jobId);
        if (!response.ok) return;
        const outcome = paymentOutcomeOf(payment);
        if (outcome.jobId !== jobId) return;
        if (outcome.state === "completed") ledger.confirm(jobId, outcome.charge);
        if (outcome.state === "failed") ledger.forget(jobId, outcome.reason);
      } catch (error) {
        if (error instanceof PaymentError && error.code === "operatorLied") throw error;
      }
    }),
  );
}
