/**
 * Suffix array of a sequence by induced sorting, SA-IS (Nong, Zhang and Chan 2009): linear time, about 14 bytes an
 * element at the peak.
 *
 * @param text Elements 0 to `largest`. The end counts as smaller than every element.
 * @returns Positions of all suffixes, in ascending order of the suffixes.
 */
export function suffixArray(text: Int32Array, largest: number): Int32Array {
  const n = text.length;
  if (n === 0) return new Int32Array(0);
  if (n === 1) return Int32Array.of(0);

  // Type of each suffix: 1 where it is smaller than the one after it (S), else 0 (L).
  const smaller = new Uint8Array(n);
  for (let i = n - 2; i >= 0; i--) {
    smaller[i] = text[i] === text[i + 1] ? smaller[i + 1] : text[i] < text[i + 1] ? 1 : 0;
  }
  const startsL = new Int32Array(largest + 2);
  const startsS = new Int32Array(largest + 2);
  for (let i = 0; i < n; i++) {
    if (smaller[i]) startsL[text[i] + 1] += 1;
    else startsS[text[i]] += 1;
  }
  for (let c = 0; c <= largest; c++) {
    startsS[c] += startsL[c];
    if (c < largest) startsL[c + 1] += startsS[c];
  }

  const sorted = new Int32Array(n);
  const heads = new Int32Array(largest + 2);
  const induce = (lms: Int32Array) => {
    sorted.fill(-1);
    heads.set(startsS);
    for (const at of lms) if (at !== n) sorted[heads[text[at]]++] = at;
    heads.set(startsL);
    sorted[heads[text[n - 1]]++] = n - 1;
    for (let i = 0; i < n; i++) {
      const at = sorted[i];
      if (at >= 1 && !smaller[at - 1]) sorted[heads[text[at - 1]]++] = at - 1;
    }
    heads.set(startsL);
    for (let i = n - 1; i >= 0; i--) {
      const at = sorted[i];
      if (at >= 1 && smaller[at - 1]) sorted[--heads[text[at - 1] + 1]] = at - 1;
    }
  };

  // Leftmost S positions, in text order.
  const order = new Int32Array(n + 1).fill(-1);
  let count = 0;
  for (let i = 1; i < n; i++) if (!smaller[i - 1] && smaller[i]) order[i] = count++;
  const lms = new Int32Array(count);
  for (let i = 1, at = 0; i < n; i++) if (order[i] >= 0) lms[at++] = i;
  induce(lms);
  if (count === 0) return sorted;

  const sortedLms = new Int32Array(count);
  for (let i = 0, at = 0; i < n; i++) if (order[sorted[i]] >= 0) sortedLms[at++] = sorted[i];
  const names = new Int32Array(count);
  let name = 0;
  for (let i = 1; i < count; i++) {
    if (!samePart(text, smaller, order, lms, sortedLms[i - 1], sortedLms[i])) name += 1;
    names[order[sortedLms[i]]] = name;
  }
  const ranks = suffixArray(names, name);
  for (let i = 0; i < count; i++) sortedLms[i] = lms[ranks[i]];
  induce(sortedLms);
  return sorted;
}

/** Whether the stretches from two leftmost S positions to the next ones are the same. */
function samePart(
  text: Int32Array,
  smaller: Uint8Array,
  order: Int32Array,
  lms: Int32Array,
  a: number,
  b: number,
): boolean {
  const endA = order[a] + 1 < lms.length ? lms[order[a] + 1] : text.length;
  const endB = order[b] + 1 < lms.length ? lms[order[b] + 1] : text.length;
  if (endA - a !== endB - b || endA === text.length || endB === text.length) return false;
  for (let i = 0; i <= endA - a; i++) {
    if (text[a + i] !== text[b + i] || smaller[a + i] !== smaller[b + i]) return false;
  }
  return true;
}
