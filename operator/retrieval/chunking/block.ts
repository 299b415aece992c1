/** One unit of a document's structure, which a chunk holds whole where it fits. */
export interface Block {
  readonly kind: "heading" | "paragraph" | "item" | "code" | "table" | "record";
  /** Of a heading: 1 to 6. Otherwise 0. */
  readonly level: number;
  /** First and one past the last UTF-16 unit. Blocks ascend and do not overlap. */
  readonly start: number;
  readonly end: number;
}
