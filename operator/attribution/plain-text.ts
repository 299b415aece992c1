/**
 * Invisible and of no width. In a prompt it stands inside what the model would otherwise read as one of its control
 * tokens (`operator/serving/model-text.ts`).
 */
export const WORD_JOINER = "\u2060";

/** Text as it was before word joiners were put in. */
export function withoutJoiners(text: string): string {
  return text.replaceAll(WORD_JOINER, "");
}
