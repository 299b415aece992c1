import type { Block } from "../chunking/block.ts";
import type { RefusalCode } from "./document-refused.ts";
import type { ReadingLimits } from "./reading-limits.ts";

/** What the extraction process is asked. */
export interface ExtractionRequest {
  readonly format: "html" | "pdf";
  readonly bytes: Uint8Array;
  readonly charset?: string;
  readonly limits: ReadingLimits;
}

/** What it answers. */
export type ExtractionReply =
  | { readonly text: string; readonly blocks: readonly Block[] }
  | { readonly refused: RefusalCode; readonly reason: string };
