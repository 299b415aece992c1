// A worker in a process of its own, to be killed: Redis, prefix, the sequencer's URL and secret, and the time are its
// arguments.
import { JobWorker } from "../../../operator/queue/job-worker.ts";
import { connectSequencer } from "../../../operator/settlement/http/sequencer-client.ts";
import { codec, serveDictation } from "./dictation.ts";

const [redis, prefix, url, secret, now] = process.argv.slice(2);
const sequencer = connectSequencer({ url, secret });
const worker = new JobWorker({ redis, prefix, sequencer, serve: serveDictation, ...codec, clock: () => Number(now) });
await worker.ready();
process.stdout.write("ready\n");
