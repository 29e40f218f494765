/** Fetches the blob's bytes that a reader who goes through a layer will need next: in order, some windows at a time. */
import type { BlobReader } from '../../content/content.js';
import { createLogger } from '../../observe/log.js';
import type { SpanTable } from '../index/span-table.js';

const log = createLogger('layer');

/**
 * Compressed bytes asked for before the reader is there. A tree of several layers is gone through in turns: while the
 * reader is in one, the line brings what was asked for in the others. 16 MiB keep 200 Mbit/s busy for 0.7 s, and a line
 * of 10 Gbit/s at 10 ms full (12 MB in flight).
 */
export const maxAheadBytes = 16 << 20;
/** A window: 170 ms at 200 Mbit/s, of which a round trip of 20 ms is hidden by the next one. */
const maxWindowBytes = 4 << 20;
/** The first ones: what goes on is soon known to, and half a round trip at 200 Mbit/s costs as much. */
const minWindowBytes = 256 << 10;
/** Windows of one reader under way at once. */
const maxWindows = 3;

export interface FetchAheadParts {
  readonly blob: BlobReader;
  readonly spans: SpanTable;
  /** Number of the span at which decoding starts to reach `index`. */
  readonly startOf: (index: number) => number;
  /** The span need not be fetched. */
  readonly isThere: (index: number) => boolean;
}

/** Ahead of one reader. */
export class FetchAhead {
  private readonly parts: FetchAheadParts;
  private readonly abort = new AbortController();
  /** First span that was not asked for. */
  private next = 0;
  private under = 0;
  private position = 0;
  private bytes = 0;

  constructor(parts: FetchAheadParts) {
    this.parts = parts;
  }

  /**
   * The reader needs span `from` and has read up to blob offset `position`: have what is in between, and as many bytes
   * behind. Cheap when they are on their way.
   */
  advance(from: number, position: number, bytes: number): void {
    this.position = position;
    this.bytes = bytes;
    this.next = Math.max(this.next, from);
    while (this.under < maxWindows && this.startWindow());
  }

  /** Spans before this one are there, or on their way. */
  get askedTo(): number {
    return this.next;
  }

  /** The reader went elsewhere. */
  stop(): void {
    this.abort.abort();
  }

  private startWindow(): boolean {
    const { spans, startOf, isThere } = this.parts;
    const { count } = spans;
    let index = this.next;
    while (index < count && isThere(index)) index += 1;
    this.next = index;
    if (index >= count || this.abort.signal.aborted) return false;
    const first = spans.get(index).in;
    const ahead = first - this.position;
    const length = Math.min(maxWindowBytes, Math.max(minWindowBytes, this.bytes / 2));
    // Whole windows, until the reader has come near.
    if (ahead + length > this.bytes && ahead > this.bytes / 2) return false;
    // What is there of the run costs nothing.
    const { in: start } = spans.get(startOf(index));
    let end = first;
    for (; index < count && end < first + length && !isThere(index); index += 1) end = spans.get(index).inEnd;
    this.next = index;
    void this.fetch(start, end);
    return true;
  }

  private async fetch(start: number, end: number): Promise<void> {
    this.under += 1;
    try {
      await this.parts.blob.fill({ start, end }, { exact: true, signal: this.abort.signal });
      this.under -= 1;
      this.advance(this.next, this.position, this.bytes);
    } catch (error) {
      // What stands in the way shows again, and is told, when the spans are read.
      this.under -= 1;
      log.debug('fetching ahead failed', { error: String(error) });
    }
  }
}
