import { text } from "node:stream/consumers";

/** The text of an option; `-` stands for standard input. */
export function optionText(value: string): Promise<string> | string {
  return value === "-" ? text(process.stdin) : value;
}
