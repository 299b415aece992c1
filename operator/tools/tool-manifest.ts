import { z } from "zod";
import { ToolError } from "./tool-error.ts";

/** Bytes of a manifest at most. */
export const MAX_MANIFEST_BYTES = 64 * 1024;

const manifest = z.strictObject({
  /** By which the model knows it. */
  name: z.string().regex(/^[\w-]{1,64}$/),
  description: z.string().max(4_096),
  transport: z.enum(["http", "stdio"]),
  /** Program and arguments, for stdio. */
  command: z.array(z.string().min(1).max(4_096)).min(1).max(64).optional(),
  /** Name of the tool on its MCP server. */
  tool: z.string().min(1).max(256),
  call: z.discriminatedUnion("when", [
    z.strictObject({
      when: z.literal("before"),
      arguments: z.record(z.string(), z.json()),
      /** The job fails without its result. Otherwise the answer is given without it. */
      required: z.boolean().optional(),
    }),
    z.strictObject({ when: z.literal("model") }),
  ]),
});

/** What is registered of a tool: which tool of which MCP server is called when, and with what. */
export type ToolManifest = z.infer<typeof manifest>;

/** Reads the content of a registered tool. @throws {ToolError} `malformed` */
export function readToolManifest(bytes: Uint8Array): ToolManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ToolError("malformed", "The tool's manifest is no JSON in UTF-8.", { cause: error });
  }
  const read = manifest.safeParse(value);
  if (!read.success) {
    const [{ path, message }] = read.error.issues;
    throw new ToolError("malformed", `The tool's manifest is wrong at ${path.join(".") || "its top"}: ${message}.`);
  }
  if (read.data.transport === "stdio" && !read.data.command) {
    throw new ToolError("malformed", "The tool's manifest names stdio and no command.");
  }
  return read.data;
}

/** The arguments of a call before generation: `{{question}}` stands for what the user asked, in texts at any depth. */
export function argumentsFor(question: string, given: Record<string, unknown>): Record<string, unknown> {
  const fill = (value: unknown): unknown => {
    // A function, because `$&` and the like in a question are text.
    if (typeof value === "string") return value.replaceAll("{{question}}", () => question);
    if (Array.isArray(value)) return value.map(fill);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, fill(entry)]));
  };
  return fill(given) as Record<string, unknown>;
}
