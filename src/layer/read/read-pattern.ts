/** Whether readers of a layer jump about or go through it. */

/** Decoded bytes kept ready for a reader that goes straight on: a quarter of a second of decoding. */
const maxAheadBytes = 8 << 20;
/** A step forward that is not a jump: a reader of files in the order of the archive leaves some out. */
const maxStepBytes = 4 << 20;
/** Bytes gone through in sequence after which the next ones are wanted too: a small file does not reach it. */
const streakFromBytes = 1 << 20;

export class ReadPattern {
  /** End of what was read last. */
  private end = -1;
  private streak = 0;

  /** Note that decoded bytes `[start, end)` are read. */
  note(start: number, end: number): void {
    const isNear = start >= this.end - maxStepBytes && start <= this.end + maxStepBytes;
    if (this.end >= 0 && isNear) this.streak += Math.max(0, Math.min(end - start, end - this.end));
    else this.streak = end - start;
    this.end = Math.max(isNear ? this.end : 0, end);
  }

  /** What comes next will be read as well. */
  get isSequential(): boolean {
    return this.streak >= streakFromBytes;
  }

  /** Offset up to which bytes should be decoded; that of the reader when it jumps. */
  get aheadUntil(): number {
    return this.isSequential ? this.end + Math.min(maxAheadBytes, this.streak) : this.end;
  }
}
