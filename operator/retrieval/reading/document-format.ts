/** What ingest can read. */
type DocumentFormat = "markdown" | "text" | "records" | "html" | "pdf";

const BY_MEDIA_TYPE: Readonly<Record<string, DocumentFormat>> = {
  "text/markdown": "markdown",
  "text/x-markdown": "markdown",
  "text/plain": "text",
  "text/csv": "text",
  "text/tab-separated-values": "text",
  "application/json": "text",
  "application/jsonl": "records",
  "application/x-ndjson": "records",
  "application/jsonlines": "records",
  "text/html": "html",
  "application/xhtml+xml": "html",
  "application/pdf": "pdf",
};

const BY_EXTENSION: Readonly<Record<string, DocumentFormat>> = {
  md: "markdown",
  markdown: "markdown",
  txt: "text",
  text: "text",
  csv: "text",
  tsv: "text",
  json: "text",
  jsonl: "records",
  ndjson: "records",
  html: "html",
  htm: "html",
  xhtml: "html",
  pdf: "pdf",
};

/**
 * How to read a document: by its media type where that names a format, else by the path's ending. Generic media types
 * (`application/octet-stream`, `text/plain` that servers give to everything) leave the choice to the path.
 */
export function documentFormat(path: string, mediaType?: string): DocumentFormat | undefined {
  const named = BY_MEDIA_TYPE[mediaType?.split(";")[0].trim().toLowerCase() ?? ""];
  const extension = /\.([A-Za-z0-9]+)$/.exec(path)?.[1].toLowerCase();
  const byPath = extension === undefined ? undefined : BY_EXTENSION[extension];
  if (named === undefined || named === "text") return byPath ?? named;
  return named;
}

/** The character set that a media type names, in lower case. */
export function declaredCharset(mediaType?: string): string | undefined {
  return /;\s*charset\s*=\s*"?([A-Za-z0-9_:.-]+)/i.exec(mediaType ?? "")?.[1].toLowerCase();
}
