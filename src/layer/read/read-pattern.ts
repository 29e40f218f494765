/** One who reads a layer: whether it jumps about or goes through it. */

/** A step that is not a jump: a reader of files in the order of the archive leaves some out. */
const maxStepBytes = 4 << 20;
/**
 * Bytes gone through in sequence after which the next ones are wanted too: 10 KiB of a file, which a kernel asks for as
 * 128 KiB, do not reach it, and each of the requests before it costs a round trip.
 */
const streakFromBytes = 256 << 10;

export class ReadPattern {
  /** End of what was read last. */
  private end: number;
  /** Bytes gone through in sequence. */
  private streak: number;
  /** What lies before it was made ready, and is read without asking. */
  private readyUntil = 0;

  /** Begins with a read of decoded bytes `[start, end)`. */
  constructor(start: number, end: number) {
    this.end = end;
    this.streak = end - start;
  }

  /** Whether a read at `start` goes on with this one. */
  isNear(start: number): boolean {
    return start >= this.end - maxStepBytes && start <= Math.max(this.end, this.readyUntil) + maxStepBytes;
  }

  /** Note that decoded bytes `[start, end)`, which are near, are read. */
  note(start: number, end: number): void {
    this.streak += Math.max(0, Math.min(end - start, end - this.end));
    this.end = Math.max(this.end, end);
  }

  /** Note that a file was opened at `start`, which is near: what lies before it was read, perhaps without asking. */
  pass(start: number): void {
    this.note(Math.min(start, this.end), start);
  }

  /** Note that everything before `offset` is ready or on its way. */
  ready(offset: number): void {
    this.readyUntil = Math.max(this.readyUntil, offset);
  }

  /** What comes next will be read as well. */
  get isSequential(): boolean {
    return this.streak >= streakFromBytes;
  }

  get position(): number {
    return this.end;
  }

  /** How far ahead it is worth to look: as far as it went, at most `most` bytes; 0 when it jumps. */
  ahead(most: number): number {
    return this.isSequential ? Math.min(most, this.streak) : 0;
  }
}
