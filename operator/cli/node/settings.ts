import { configFields } from "../../node/config.ts";

/** `openledger operator settings` */
export function showSettings({ json }: { json: boolean }): void {
  const fields = configFields();
  if (json) {
    console.log(JSON.stringify({ fields }));
    return;
  }
  for (const { name, description, default: fallback } of fields) {
    const given = fallback === undefined ? "" : ` Default ${JSON.stringify(fallback)}.`;
    console.log(`${name}\n    ${description}${given}`);
  }
}
