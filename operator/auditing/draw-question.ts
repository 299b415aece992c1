import { randomInt } from "node:crypto";
import type { Passage } from "../retrieval/data-net-index.ts";
import { draw } from "./draw.ts";

/** What people put around words of a thing that they have heard of. */
const ABOUT = [
  (words: string) => `${words}?`,
  (words: string) => `What do you know about ${words}?`,
  (words: string) => `Tell me about ${words}.`,
  (words: string) => `I have read "${words}". What comes next?`,
  (words: string) => `Is this right: ${words}?`,
];
/** Words of a sentence that a question repeats. */
const FEWEST = 3;
const MOST = 12;

/**
 * A question that a passage answers: about its heading, or about the beginning of one of its sentences. Of the same
 * passage it is another one each time.
 *
 * @returns Undefined for a passage without words to ask about.
 */
export function drawQuestion({ headings, text }: Pick<Passage, "headings" | "text">): string | undefined {
  const sentences = text
    .split(/(?<=[.!?])\s+|\n+/)
    .map((sentence) =>
      sentence
        .replace(/^[#>*\-\s]+/, "")
        .trim()
        .split(/\s+/),
    )
    .filter(({ length }) => length >= FEWEST);
  const beginnings = sentences.map((words) => {
    const most = Math.min(MOST, words.length);
    return words.slice(0, FEWEST + randomInt(most - FEWEST + 1)).join(" ");
  });
  const heading = headings.at(-1)?.trim();
  const [words] = draw([...beginnings, ...(heading ? [heading] : [])], 1);
  return words && draw(ABOUT, 1)[0](words.replace(/[.,;:!?]+$/, ""));
}
