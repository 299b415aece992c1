/** What stands where in the system message that a registered prompt describes. */
export type TemplatePiece = { readonly text: string } | { readonly place: "documents" | "tools" | "question" };

/**
 * Divides the content of a registered prompt at its places: `{{documents}}`, `{{tools}}`, `{{question}}`. Passages and
 * results of tools come where they are first named; where they are not named they come at the end.
 */
export function readTemplate(content: string): TemplatePiece[] {
  const pieces: TemplatePiece[] = [];
  const placed = new Set<string>();
  for (const text of content.split(/(\{\{\s*(?:documents|tools|question)\s*\}\})/)) {
    const place = /^\{\{\s*(documents|tools|question)\s*\}\}$/.exec(text)?.[1] as "documents" | "tools" | "question";
    if (place === undefined) {
      if (text !== "") pieces.push({ text });
    } else if (place === "question" || !placed.has(place)) {
      placed.add(place);
      pieces.push({ place });
    }
  }
  for (const place of ["documents", "tools"] as const) if (!placed.has(place)) pieces.push({ place });
  return pieces;
}
