/**
 * How much to fetch for one reader: little for a reader that jumps about, more and more for one that goes on.
 *
 * Numbers, for a round trip of 20 ms at 25 MB/s (0.5 MB in flight):
 * - The first window is 256 KiB: 10 ms of transfer, less than the round trip it costs, and a 4 KiB read in the
 *   middle of a blob moves 256 KiB, even with a kernel that reads 128 KiB around it (bound: 1 MiB).
 * - Windows double while reading goes on, up to 8 MiB: 335 ms of transfer, so a round trip is 6 % of a request,
 *   which the next window, fetched at the same time, hides.
 * - After 32 MiB in sequence they are 32 MiB: a blob of 1 GiB takes some 40 requests.
 * - What is fetched ahead of the reader is at most what it has read in sequence, and at most 64 MiB.
 * - A reader that says it goes on to the end begins with 8 MiB, as if it had read so much: finding out costs four layers that
 *   are read at once 80 ms of such a line.
 */

export const initialWindowBytes = 256 << 10;
export const maxWindowBytes = 8 << 20;
export const longWindowBytes = 32 << 20;
const longStreakBytes = 32 << 20;
const maxAheadBytes = 64 << 20;

/**
 * A read this far ahead of the expected place still counts as in sequence, and one that far behind it: parallel reads of a
 * kernel that reads ahead arrive in any order, four of 128 KiB, or four of 1 MiB of which the driver tells some.
 */
const toleranceBytes = 512 << 10;
const toleranceBehindBytes = 4 << 20;

export class ReadAhead {
  /** End of what was read in sequence. */
  #expected = -1;
  #streak = 0;
  #window = initialWindowBytes;
  /** End of the windows that were started for this reader. */
  #issuedUntil = 0;

  /** Note a read. Returns false when it was a jump. `toTheEnd`: reading is going to go on. */
  note(position: number, end: number, toTheEnd = false): boolean {
    const near =
      position >= this.#expected - toleranceBehindBytes && position <= this.#expected + toleranceBytes;
    // A driver that reads what is present by itself asks again only where the last window ended.
    const consumed = position >= this.#expected && position <= this.#issuedUntil + toleranceBytes;
    if (this.#expected >= 0 && (near || consumed)) {
      this.#streak += Math.max(0, end - this.#expected);
      this.#expected = Math.max(this.#expected, end);
      return true;
    }
    this.#streak = toTheEnd ? maxWindowBytes : end - position;
    this.#expected = end;
    this.#window = toTheEnd ? maxWindowBytes : initialWindowBytes;
    this.#issuedUntil = 0;
    return false;
  }

  /** Note that a window was started. */
  issued(end: number): void {
    this.#issuedUntil = Math.max(this.#issuedUntil, end);
  }

  /** Offset of the reader, and the offset up to which bytes should be on their way; equal for a jumping reader. */
  get position(): number {
    return this.#expected;
  }

  get aheadUntil(): number {
    if (this.#streak < 2 * initialWindowBytes) return this.#expected;
    return this.#expected + Math.min(this.#streak, maxAheadBytes);
  }

  /** Length of the next window; each one is twice the one before. */
  nextWindow(): number {
    const length = this.#streak >= longStreakBytes ? longWindowBytes : this.#window;
    this.#window = Math.min(this.#window * 2, maxWindowBytes);
    return length;
  }
}
