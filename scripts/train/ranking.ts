/** Ranks from 1; equal values share the mean of their ranks. */
function ranks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const out = new Array<number>(values.length);
  for (let i = 0; i < order.length; ) {
    let end = i;
    while (end < order.length && values[order[end]] === values[order[i]]) end++;
    for (let j = i; j < end; j++) out[order[j]] = (i + end + 1) / 2;
    i = end;
  }
  return out;
}

/** Spearman's rank correlation; 0 where one side is constant. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (x.length + 1) / 2;
  let [both, left, right] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    both += (x[i] - mean) * (y[i] - mean);
    left += (x[i] - mean) ** 2;
    right += (y[i] - mean) ** 2;
  }
  return left === 0 || right === 0 ? 0 : both / Math.sqrt(left * right);
}

const K1 = 1.2;
const B = 0.75;

/** BM25 score of every document for a query (Robertson and Zaragoza 2009, section 3.3). */
export function bm25(documents: readonly string[], query: string): number[] {
  const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const texts = documents.map(words);
  const average = texts.reduce((total, text) => total + text.length, 0) / texts.length;
  const scores = new Array<number>(texts.length).fill(0);
  for (const term of new Set(words(query))) {
    const counts = texts.map((text) => text.filter((word) => word === term).length);
    const having = counts.filter((count) => count > 0).length;
    const rarity = Math.log(1 + (texts.length - having + 0.5) / (having + 0.5));
    for (const [i, count] of counts.entries()) {
      scores[i] += (rarity * count * (K1 + 1)) / (count + K1 * (1 - B + (B * texts[i].length) / average));
    }
  }
  return scores;
}
