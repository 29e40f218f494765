/**
 * Reading a directory piece by piece, from any cookie, without holding a list of a million names.
 *
 * A cookie is the number of entries before it. Of the streamed part a window of the newest names is kept: a driver
 * whose reply buffer was full asks again for the last few. A reader that goes further back starts the stream again
 * behind the nearest name noted before that place.
 *
 * Calls on one cursor run one after the other. A caller that gives up loses nothing: the name it waited for is
 * there for the next call.
 */
import { untilAborted } from '../errors/aborted.js';
import type { ListedChild, Listing } from './node.js';

export interface CursorPage {
  readonly children: readonly ListedChild[];
  /** Cookie of the first of `children`; each one's successor is one more. */
  readonly first: number;
  /** Nothing is behind the last of `children`. */
  readonly end: boolean;
}

/** A READDIR reply of 1 MiB holds about 26,000 short names; drivers ask for far fewer. 4,096 names are 400 KB. */
const windowLength = 4096;

/** One name in 4,096 is noted: 244 for a million, 20 KB. */
const noteEvery = 4096;

export class DirectoryCursor {
  readonly #listing: Listing;
  /** Made with the stream: most directories have none, and an abort takes 10 µs. */
  #controller: AbortController | undefined;
  /** Streamed entries from number `#windowStart` on, counted from the beginning of the stream. */
  #window: ListedChild[] = [];
  #windowStart = 0;
  /** The name before the next one to come: where a stream that broke begins again. */
  #last: ListedChild | undefined;
  #iterator: AsyncIterator<ListedChild> | undefined;
  #filling: Promise<void> | undefined;
  /** Number of names that the call under way needs, and of the first it will return. */
  #target = 0;
  #needed = 0;
  #ended = false;
  /** Raised when the stream is dropped: what an older one still gives is not taken. */
  #epoch = 0;
  readonly #notes: { readonly position: number; readonly child: ListedChild }[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  constructor(listing: Listing) {
    this.#listing = listing;
  }

  get immutable(): boolean {
    return this.#listing.immutable;
  }

  /** At most `limit` entries from cookie `offset`. @throws ImgfsError what the store throws, `interrupted`. */
  page(offset: number, limit: number, signal: AbortSignal): Promise<CursorPage> {
    const result = this.#turn.then(() => this.#page(offset, limit, signal));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Stop streaming. */
  close(): void {
    this.#controller?.abort();
    this.#drop();
  }

  async #page(offset: number, limit: number, signal: AbortSignal): Promise<CursorPage> {
    const { children: held, stream } = this.#listing;
    const children = held.slice(offset, offset + limit);
    if (stream === undefined)
      return { children, first: offset, end: offset + children.length >= held.length };
    const position = Math.max(0, offset - held.length);
    const wanted = limit - children.length;
    if (wanted > 0) children.push(...(await this.#streamed(position, wanted, signal)));
    const end = children.length < limit && this.#ended;
    return { children, first: offset, end };
  }

  async #streamed(position: number, count: number, signal: AbortSignal): Promise<ListedChild[]> {
    if (position < this.#windowStart) this.#rewind(position);
    this.#needed = position;
    this.#target = position + count;
    if (!this.#ended && this.#received < this.#target) {
      await untilAborted((this.#filling ??= this.#startFilling()), signal);
    }
    const from = position - this.#windowStart;
    return from < 0 ? [] : this.#window.slice(from, from + count);
  }

  /** Names that came so far, also those that left the window. */
  get #received(): number {
    return this.#windowStart + this.#window.length;
  }

  #startFilling(): Promise<void> {
    const filling = this.#fill().finally(() => {
      if (this.#filling === filling) this.#filling = undefined;
    });
    return filling;
  }

  /** Pull names until the target, which may rise meanwhile. Goes on when the caller gives up. */
  async #fill(): Promise<void> {
    const epoch = this.#epoch;
    const iterator = (this.#iterator ??= this.#start(this.#last));
    try {
      while (this.#received < this.#target) {
        const result = await iterator.next();
        if (epoch !== this.#epoch) return;
        if (result.done === true) {
          this.#ended = true;
          return;
        }
        this.#take(result.value);
      }
    } catch (error) {
      // The next call begins again behind the last name that came.
      if (epoch === this.#epoch) this.#iterator = undefined;
      throw error;
    }
  }

  #take(child: ListedChild): void {
    const position = this.#received;
    if (position >= (this.#notes.at(-1)?.position ?? 0) + noteEvery) this.#notes.push({ position, child });
    this.#window.push(child);
    this.#last = child;
    if (this.#window.length >= 2 * windowLength) this.#trim();
  }

  /** Keep the window short, but never drop what the call under way will return. */
  #trim(): void {
    const droppable = Math.min(this.#window.length - windowLength, this.#needed - this.#windowStart);
    if (droppable <= 0) return;
    this.#window.splice(0, droppable);
    this.#windowStart += droppable;
  }

  #start(last: ListedChild | undefined): AsyncIterator<ListedChild> {
    const stream = this.#listing.stream;
    if (stream === undefined) throw new Error('a cursor without a stream was started');
    this.#controller ??= new AbortController();
    return stream({ last: last?.name, signal: this.#controller.signal })[Symbol.asyncIterator]();
  }

  /** Start again behind the nearest name noted before `position`. */
  #rewind(position: number): void {
    this.#drop();
    while ((this.#notes.at(-1)?.position ?? -1) >= position) this.#notes.pop();
    const note = this.#notes.at(-1);
    this.#window = [];
    this.#windowStart = note === undefined ? 0 : note.position + 1;
    this.#last = note?.child;
    this.#ended = false;
  }

  #drop(): void {
    const iterator = this.#iterator;
    this.#epoch += 1;
    this.#iterator = undefined;
    this.#filling?.catch(() => undefined);
    this.#filling = undefined;
    // A generator waits for its own pending step before it ends: nobody here waits for that.
    iterator?.return?.().catch(() => undefined);
  }
}
