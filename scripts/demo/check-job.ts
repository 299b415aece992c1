import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { Hex } from "../../operator/protocol/bytes.ts";

const LAUNCHER = fileURLToPath(new URL("../../operator/cli/openledger.js", import.meta.url));

export interface JobCheckOptions {
  jobId: Hex;
  salt: Hex;
  operatorUrl: string;
  rpc: string;
  addresses: string;
  model: string;
  /** Folder or address of what was registered. */
  published: string;
  /** For what the command keeps. */
  home: string;
}

export interface JobCheck {
  valid: boolean;
  checked: string[];
  unchecked?: string[];
  problems?: string[];
  largestDifference?: number;
}

/** Runs `openledger verify job` in a process of its own, as anybody would who was told the salt. */
export async function checkJob(options: JobCheckOptions): Promise<JobCheck> {
  const { jobId, salt, operatorUrl, rpc, addresses, model, published, home } = options;
  const args = ["verify", "job", jobId, "--salt", salt, "--operator-url", operatorUrl, "--model", model];
  const chain = ["--rpc", rpc, "--addresses", addresses, "--finality", "0", "--data", published];
  // What the operator publishes is on this machine, which has to be said.
  const more = ["--data", `${operatorUrl}/published`, "--json"];
  const env = { ...process.env, OPENLEDGER_HOME: home };
  const child = spawn(process.execPath, [LAUNCHER, ...args, ...chain, ...more], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (!out.trim().startsWith("{")) throw new Error(`openledger verify job: ${err.trim()}`);
  return JSON.parse(out) as JobCheck;
}

/** A job as the operator shows it to whoever has the salt: what of its trace people read. */
export interface ShownJob {
  trace: {
    inputs: {
      prompt: {
        messages?: { parts: { text: string; source?: number }[] }[];
        parts?: { text: string; source?: number }[];
      };
      sources: { kind: string; id: number }[];
    };
  };
}

/** The texts that an answer was given from, by the id of whom they come from. */
export async function readSources(operatorUrl: string, jobId: Hex, salt: Hex): Promise<Map<number, string>> {
  const response = await fetch(`${operatorUrl}/v1/jobs/${jobId}`, { headers: { "x-openledger-salt": salt } });
  const { trace } = (await response.json()) as ShownJob;
  const { prompt, sources } = trace.inputs;
  const parts = prompt.parts ?? prompt.messages!.flatMap(({ parts }) => parts);
  const texts = new Map<number, string>();
  for (const { text, source } of parts) {
    if (source === undefined) continue;
    const { id } = sources[source];
    texts.set(id, `${texts.get(id) ?? ""}${text}`);
  }
  return texts;
}
