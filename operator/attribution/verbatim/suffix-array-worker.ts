// Sorts the suffixes of shard after shard, away from the thread that serves.
import { parentPort } from "node:worker_threads";
import { suffixArray } from "./suffix-array.ts";

parentPort!.on("message", (words: Uint32Array<ArrayBuffer>) => {
  const suffixes = suffixArray(...ranks(words));
  parentPort!.postMessage(suffixes, [suffixes.buffer as ArrayBuffer]);
});

/** Words replaced by their rank among the distinct ones, and the largest rank. */
function ranks(words: Uint32Array): [Int32Array, number] {
  const distinct = words.slice().sort();
  let count = 0;
  for (let i = 0; i < distinct.length; i++)
    if (i === 0 || distinct[i] !== distinct[i - 1]) distinct[count++] = distinct[i];
  const ranked = new Int32Array(words.length);
  for (let i = 0; i < words.length; i++) {
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (distinct[middle] < words[i]) low = middle + 1;
      else high = middle;
    }
    ranked[i] = low;
  }
  return [ranked, Math.max(0, count - 1)];
}
