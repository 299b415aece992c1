// Runs as a child process of its own: parsers of hostile formats see neither the node's keys nor its memory, and can be
// killed. One request at a time.
import { Worker } from "node:worker_threads";
import { DocumentRefused } from "./document-refused.ts";
import type { ExtractionReply, ExtractionRequest } from "./extraction-messages.ts";
import { readHtml } from "./read-html.ts";
import { readPdf } from "./read-pdf.ts";

// Memory is watched from a second thread because a parser that runs wild never returns to this one's event loop, and
// typed arrays (a PDF's inflated streams) do not count against V8's heap limit.
const limit = Number(process.argv[2]);
new Worker(
  `const limit = ${JSON.stringify(limit)};
   setInterval(() => { if (process.memoryUsage.rss() > limit) process.kill(process.pid, "SIGTERM"); }, 20);`,
  { eval: true },
).unref();

process.on("message", async (request: ExtractionRequest) => {
  process.send!(await extract(request));
});

async function extract({ format, bytes, charset, limits }: ExtractionRequest): Promise<ExtractionReply> {
  try {
    const { text, blocks } =
      format === "html"
        ? readHtml(bytes, charset, limits.maxTextBytes)
        : // The channel delivers a Buffer, which the PDF reader does not take.
          await readPdf(new Uint8Array(bytes), limits.maxPages, limits.maxTextBytes);
    return { text, blocks };
  } catch (error) {
    if (error instanceof DocumentRefused) return { refused: error.code, reason: error.message };
    return { refused: "broken", reason: (error as Error).message };
  }
}
