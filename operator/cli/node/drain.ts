import { setTimeout as sleep } from "node:timers/promises";
import { note, printResult } from "../chain/chain-session.ts";
import type { NodeFileOptions } from "../operator.ts";
import { readNodeFile } from "./node-file.ts";
import { runningNodes } from "./running-nodes.ts";

/** `openledger operator drain` */
export async function drainNodes(options: NodeFileOptions & { timeout: number }): Promise<void> {
  const { data } = readNodeFile(options);
  const nodes = runningNodes(data);
  for (const { pid, roles } of nodes) {
    note(`Ending the node of process ${pid} (${roles.join(", ")}) ...`);
    process.kill(pid, "SIGTERM");
  }
  const deadline = Date.now() + options.timeout * 1_000;
  for (;;) {
    const left = runningNodes(data).filter(({ pid }) => nodes.some((node) => node.pid === pid));
    if (left.length === 0) break;
    if (Date.now() > deadline) {
      throw new Error(`Still running after ${options.timeout} s: ${left.map(({ pid }) => pid).join(", ")}.`);
    }
    await sleep(200);
  }
  printResult(options.json, { ended: nodes.length });
}
