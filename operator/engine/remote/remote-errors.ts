import { EngineError, type EngineErrorCode } from "../engine-error.ts";
import { clip, isObject, type JsonObject, objectFrom, optionalNumber, optionalString, parseJson } from "./json.ts";

/** What a server said when it refused: every engine has a shape of its own, some have two. */
export interface Refusal {
  readonly message: string;
  readonly type?: string;
}

/**
 * Reads the message out of an error body: OpenAI's `{error: {message, type}}`, older vLLM's flat
 * `{object: "error", message, type}`, LoRAX's `{error, error_type}`, SGLang's `{success: false, error_message}`,
 * FastAPI's `{detail}`, or plain text.
 */
function readRefusal(body: unknown): Refusal {
  if (typeof body === "string") return { message: clip(body.trim(), 500) };
  if (!isObject(body)) return { message: "" };
  const inner = isObject(body.error) ? body.error : body;
  const message =
    optionalString(inner.message) ??
    optionalString(body.error) ??
    optionalString(body.error_message) ??
    (body.detail === undefined ? "" : (optionalString(body.detail) ?? JSON.stringify(body.detail)));
  const type = optionalString(inner.type) ?? optionalString(body.error_type);
  return { message: clip(message, 500), ...(type !== undefined && { type }) };
}

const CONTEXT =
  /context (length|size|window)|max_model_len|maximum.*(length|tokens)|too long|max_input_length|max_total_tokens/i;
const ADAPTER = /\blora|adapter/i;
const UNKNOWN = /not (found|exist|loaded)|unknown|never been loaded|no such|cannot find/i;
/** What the four servers answer on a path that they do not have. */
const MISSING_ROUTE = /^((file )?not found)?$/i;
const MISSING_MODEL = /model.*(does not exist|not found)/i;

/**
 * Turns a refusal into an `EngineError`. `usesAdapter` says whether the request named one: a 404 then means that the
 * adapter is gone, and a 424 (LoRAX) that it could not be loaded.
 */
export function refused(server: string, status: number, body: unknown, usesAdapter: boolean): EngineError {
  const { message, type } = readRefusal(body);
  const code = refusalCode(status, message, type, usesAdapter);
  const said = message === "" ? `HTTP ${status}` : message;
  return new EngineError(code, `${server}: ${said}`, { server, status, ...(type !== undefined && { type }) });
}

/**
 * Reads a piece of a stream. A stream that has begun can say only in its data that the request failed.
 *
 * @param data of one server-sent event
 * @param unstated HTTP status that stands for an error which names none
 * @throws EngineError what {@link refused} makes of an error; `failed` on what is no piece
 */
export function streamPiece(
  data: string,
  { server, usesAdapter, unstated = 500 }: { server: string; usesAdapter: boolean; unstated?: number },
): JsonObject {
  const piece = objectFrom(parseJson(data), "a piece of the stream");
  if (piece.error === undefined) return piece;
  const inner = isObject(piece.error) ? piece.error : piece;
  throw refused(server, optionalNumber(inner.code) ?? unstated, piece, usesAdapter);
}

function refusalCode(status: number, message: string, type: string | undefined, usesAdapter: boolean): EngineErrorCode {
  if (status === 429 || type === "overloaded") return "overloaded";
  if (status === 502 || status === 503 || status === 504) return "unavailable";
  if (status === 408) return "timeout";
  if (type === "exceed_context_size_error") return "context_too_long";
  if (status === 405 || status === 501 || (status === 404 && MISSING_ROUTE.test(message))) return "unsupported";
  const client = status >= 400 && status < 500;
  if (client && (usesAdapter || ADAPTER.test(message))) {
    if (status === 404 || (UNKNOWN.test(message) && (ADAPTER.test(message) || MISSING_MODEL.test(message)))) {
      return "unknown_adapter";
    }
    if (status === 424 || (ADAPTER.test(message) && !CONTEXT.test(message))) return "adapter_failed";
  }
  if (client && CONTEXT.test(message)) return "context_too_long";
  if (status === 400 || status === 404 || status === 413 || status === 422) return "invalid_request";
  return "failed";
}
