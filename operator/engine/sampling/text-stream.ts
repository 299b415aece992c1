/** What became certain with the last token. */
interface TextPiece {
  readonly text: string;
  /** The stop string that ended the answer. */
  readonly stopped?: string;
}

/**
 * Turns tokens' bytes into text that never has to be taken back: half a character waits for its other half, and text
 * that may be the beginning of a stop string waits until it is not. The result does not depend on where tokens end:
 * the answer stops at the stop string whose last character comes first (the longest of those).
 */
export class TextStream {
  // ignoreBOM keeps U+FEFF as text: an answer may begin with it.
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private readonly stops: readonly string[];
  private held = "";
  private ended = false;

  constructor(stops: readonly string[]) {
    this.stops = stops;
  }

  /** Bytes that cannot be UTF-8 become U+FFFD, one per maximal broken part (WHATWG Encoding). */
  push(bytes: Uint8Array): TextPiece {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  /** Gives up waiting: the rest of the text, unfinished characters as U+FFFD. */
  finish(): TextPiece {
    const piece = this.take(this.decoder.decode());
    if (piece.stopped !== undefined) return piece;
    const text = piece.text + this.held;
    this.held = "";
    return { text };
  }

  private take(fresh: string): TextPiece {
    if (this.ended) return { text: "" };
    if (this.stops.length === 0) return { text: fresh };
    const text = this.held + fresh;
    const found = firstStop(text, this.stops);
    if (found !== undefined) {
      this.ended = true;
      this.held = "";
      return { text: text.slice(0, found.start), stopped: found.stop };
    }
    const keep = longestBeginning(text, this.stops);
    this.held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep) };
  }
}

function firstStop(text: string, stops: readonly string[]): { start: number; stop: string } | undefined {
  let best: { start: number; end: number; stop: string } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    if (start < 0) continue;
    const end = start + stop.length;
    if (best === undefined || end < best.end || (end === best.end && start < best.start)) best = { start, end, stop };
  }
  return best;
}

/** Length of the longest end of `text` that is a proper beginning of some stop string. */
function longestBeginning(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}
