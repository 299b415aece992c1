const SHOWN_EVERY_MS = 250;
const LASTING_EVERY_MS = 10_000;

/** Takes a line for whoever waits; one that is not lasting may be written over by the next. */
export type Say = (line: string, lasting: boolean) => void;

/**
 * Says how far a download is and how long it will take, once it has taken a second. Bytes that were here before do not
 * count for the speed.
 *
 * @param total Bytes in all.
 * @param here Bytes of them that are here already.
 * @returns Takes how many more came.
 */
export function downloadProgress(
  { total, here, say }: { total: number; here: number; say: Say },
  now: () => number = () => performance.now(),
): (count: number) => void {
  const started = now();
  let have = here;
  let shown = started + 1_000 - SHOWN_EVERY_MS;
  let lasted = started;
  return (count) => {
    have += count;
    const time = now();
    if (time - shown < SHOWN_EVERY_MS) return;
    shown = time;
    const isLasting = time - lasted >= LASTING_EVERY_MS;
    if (isLasting) lasted = time;
    const speed = (have - here) / ((time - started) / 1_000);
    const left = speed > 0 ? `, ${duration((total - have) / speed)} left` : "";
    say(`${megabytes(have)} of ${megabytes(total)}, ${megabytes(Math.max(0, speed))}/s${left}`, isLasting);
  };
}

export function megabytes(bytes: number): string {
  return bytes < 1e7 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.round(bytes / 1e6).toLocaleString("en-US")} MB`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}
