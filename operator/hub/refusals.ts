import { HubError } from "./hub-error.ts";
import type { HubName } from "./hub-name.ts";
import type { HubSettings } from "./hub-settings.ts";

/**
 * What an answer that is no success means. The hub says it in `X-Error-Code` and `X-Error-Message`, and answers 401 for
 * what does not exist as for what is private, so that nobody learns which.
 */
export function refusalOf({ status, headers }: Response, name: HubName, settings: HubSettings): HubError {
  const { endpoint, token } = settings;
  const code = headers.get("x-error-code");
  const said = printable(headers.get("x-error-message"));
  if (said === "Invalid credentials in Authorization header") {
    return new HubError(
      "denied",
      `${endpoint} does not accept HF_TOKEN: make a new one at ${endpoint}/settings/tokens.`,
    );
  }
  if (code === "GatedRepo") {
    const terms = `${name.id} is gated: accept its terms at ${endpoint}/${name.id}`;
    const then = token === undefined ? ", then set HF_TOKEN." : " with the account that HF_TOKEN is of.";
    return new HubError("denied", `${terms}${then}`);
  }
  if (code === "RevisionNotFound") {
    return new HubError("not_found", `${name.id} has no revision ${name.revision ?? "main"} at ${endpoint}.`);
  }
  if (code === "EntryNotFound") {
    return new HubError("not_found", `${endpoint} lists a file of ${name.id} and does not have it.`);
  }
  if (code === "RepoNotFound" || status === 401) {
    const unless = token === undefined ? "it is private and HF_TOKEN is not set" : "HF_TOKEN's account may not see it";
    return new HubError(
      "not_found",
      `There is no folder ${name.id} here, and no ${name.id} at ${endpoint}, or ${unless}. Check the spelling.`,
    );
  }
  const reason = said === "" ? "" : ` (${said})`;
  if (status === 403) return new HubError("denied", `${endpoint} does not give ${name.id} to this account${reason}.`);
  if (status === 429) {
    const hint = token === undefined ? "; with HF_TOKEN it takes more" : "";
    return new HubError("unavailable", `${endpoint} takes no more requests for now: try again later${hint}.`);
  }
  return new HubError("unavailable", `${endpoint} answers ${status} for ${name.id}${reason}.`);
}

/** What a server says, fit for a terminal. */
function printable(text: string | null): string {
  return (text ?? "")
    .replace(/[^\x20-\x7e]/g, " ")
    .trim()
    .slice(0, 200);
}
