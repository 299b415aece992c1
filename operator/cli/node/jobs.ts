import { queueSettings } from "../../node/start-node.ts";
import { JobQueue } from "../../queue/job-queue.ts";
import { note, printResult } from "../chain/chain-session.ts";
import type { NodeFileOptions } from "../operator.ts";
import { readNodeFile } from "./node-file.ts";

/** `openledger operator jobs failed` */
export async function showFailedJobs(options: NodeFileOptions & { limit: number }): Promise<void> {
  await withQueue(options, async (queue) => {
    const jobs = await queue.failed(options.limit);
    if (options.json) return console.log(JSON.stringify({ jobs }));
    for (const { jobId, channel, agent, attempts, endedAt, reason } of jobs) {
      const when = endedAt === undefined ? "" : new Date(endedAt).toISOString();
      console.log(`${jobId}  channel ${channel}  agent ${agent}  ${attempts} attempts  ${when}  ${reason ?? ""}`);
    }
    if (jobs.length === 0) note("No job was given up.");
  });
}

/** `openledger operator jobs retry` */
export async function retryJobs(which: `0x${string}` | "all", options: NodeFileOptions): Promise<void> {
  await withQueue(options, async (queue) => printResult(options.json, { retried: await queue.retry(which) }));
}

async function withQueue(options: NodeFileOptions, work: (queue: JobQueue) => Promise<void>): Promise<void> {
  const queue = new JobQueue({ ...(await queueSettings(readNodeFile(options))), warn: note });
  try {
    await work(queue);
  } finally {
    await queue.close();
  }
}
