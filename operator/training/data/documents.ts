import { extname } from "node:path";
import { isRecord } from "../../engine/model/json-file.ts";
import type { DataNetFolder } from "./data-net-folder.ts";
import { TrainingDataError } from "./training-data-error.ts";

/** One message of a conversation. */
export type TrainingMessage = { readonly role: string; readonly content: string };

/** What a document trains: a whole text, an answer to a prompt, or the assistant's messages of a conversation. */
export type DocumentContent =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "pair"; readonly prompt: string; readonly completion: string }
  | { readonly kind: "chat"; readonly messages: readonly TrainingMessage[] };

/** The unit that influence is measured for: a line of a .jsonl file, or a whole .md or .txt file. */
export interface TrainingDocument {
  /** Index of its contribution in the DataNet. */
  readonly contribution: number;
  /** Path inside the contribution, with the line number for .jsonl: "pairs.jsonl:12". */
  readonly place: string;
  readonly content: DocumentContent;
}

/**
 * All documents of a DataNet in order of contributions, paths and lines.
 *
 * A .jsonl line holds `messages` (role and content), or `prompt` and `completion`, or `text`.
 * @throws TrainingDataError naming file and line.
 */
export function readDocuments(net: DataNetFolder): TrainingDocument[] {
  const documents: TrainingDocument[] = [];
  for (const [contribution, { files, contributor }] of net.contributions.entries()) {
    for (const { path, bytes } of files) {
      const place = `${contributor}/${path}`;
      const text = decode(place, bytes);
      if (extname(path) !== ".jsonl") {
        if (text.trim() !== "") documents.push({ contribution, place: path, content: { kind: "text", text } });
        continue;
      }
      for (const [i, line] of text.split("\n").entries()) {
        if (line.trim() === "") continue;
        documents.push({ contribution, place: `${path}:${i + 1}`, content: parseLine(`${place}:${i + 1}`, line) });
      }
    }
  }
  if (documents.length === 0) throw new TrainingDataError(net.name, "holds no document");
  return documents;
}

function decode(place: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new TrainingDataError(place, "is not UTF-8 text");
  }
}

function parseLine(place: string, line: string): DocumentContent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new TrainingDataError(place, "is not JSON");
  }
  if (!isRecord(value)) throw new TrainingDataError(place, "is not a JSON object");
  const { messages, prompt, completion, text } = value;
  if (Array.isArray(messages)) {
    const chat = messages.map((message): TrainingMessage => {
      if (!isRecord(message) || typeof message.role !== "string" || typeof message.content !== "string") {
        throw new TrainingDataError(place, "has a message without role and content as text");
      }
      return { role: message.role, content: message.content };
    });
    if (!chat.some(({ role }) => role === "assistant")) {
      throw new TrainingDataError(place, "has no assistant message: there is nothing to learn");
    }
    return { kind: "chat", messages: chat };
  }
  if (typeof prompt === "string" && typeof completion === "string") return { kind: "pair", prompt, completion };
  if (typeof text === "string") return { kind: "text", text };
  throw new TrainingDataError(place, "has neither messages, nor prompt and completion, nor text");
}
