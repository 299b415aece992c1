import assert from "node:assert/strict";
import { it } from "node:test";
import { downloadProgress } from "../../../operator/hub/download-progress.ts";

it("a download that takes long says how far it is and what is left, one in forty lines to stay", () => {
  const lines: [string, boolean][] = [];
  let now = 0;
  const say = (line: string, lasting: boolean) => lines.push([line, lasting]);
  const count = downloadProgress({ total: 4_000e6, here: 1_000e6, say }, () => now);
  for (const time of [100, 900]) {
    now = time;
    count(50e6);
  }
  assert.equal(lines.length, 0, "what takes less than a second is not worth a word");
  now = 2_000;
  count(100e6);
  assert.deepEqual(lines, [["1,200 MB of 4,000 MB, 100 MB/s, 28 s left", false]], "what was here before is no speed");
  for (now = 2_100; now <= 11_000; now += 100) count(1e6);
  assert.equal(lines.filter(([, lasting]) => lasting).length, 1);
  now = 30_000;
  count(-lines.length);
  assert.match(lines.at(-1)![0], /^1,290 MB of 4,000 MB, 9\.7 MB\/s, 5 min left$/);
});
