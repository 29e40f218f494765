/** Those who read one layer at the same time, told apart by where they are. */
import { FetchAhead, type FetchAheadParts } from './fetch-ahead.js';
import { ReadPattern } from './read-pattern.js';

/** Programs that search a tree use some threads, each in a directory of its own. */
const maxReaders = 4;

export interface Reader {
  readonly pattern: ReadPattern;
  readonly fetching: FetchAhead;
  /** Spans before this one were looked at for being decoded ahead. */
  decodedTo: number;
}

export class Readers {
  private readonly parts: FetchAheadParts;
  /** The one that read last is last. */
  private readonly readers: Reader[] = [];

  constructor(parts: FetchAheadParts) {
    this.parts = parts;
  }

  /** Who reads decoded bytes `[start, end)`. */
  at(start: number, end: number): Reader {
    const known = this.take(start);
    known?.pattern.note(start, end);
    const reader = known ?? {
      pattern: new ReadPattern(start, end),
      fetching: new FetchAhead(this.parts),
      decodedTo: 0,
    };
    this.readers.push(reader);
    if (this.readers.length > maxReaders) this.readers.shift()?.fetching.stop();
    return reader;
  }

  /** Who goes through the layer and opened a file at `start`; undefined when nobody does. */
  passing(start: number): Reader | undefined {
    const reader = this.take(start);
    if (reader === undefined) return undefined;
    this.readers.push(reader);
    if (!reader.pattern.isSequential) return undefined;
    reader.pattern.pass(start);
    return reader;
  }

  private take(start: number): Reader | undefined {
    const place = this.readers.findLastIndex(({ pattern }) => pattern.isNear(start));
    return place < 0 ? undefined : this.readers.splice(place, 1)[0];
  }
}
