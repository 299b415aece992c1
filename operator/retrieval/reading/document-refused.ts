/** Why a document was left out; the others of its DataNet go on. */
export type RefusalCode = "format" | "encoding" | "size" | "time" | "memory" | "broken" | "empty";

/** A document that cannot be indexed. The message is for the person who contributed it. */
export class DocumentRefused extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = "DocumentRefused";
    this.code = code;
  }
}
