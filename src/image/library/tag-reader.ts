/**
 * Reading tags page by page, from any place again: distribution's "re-entrant tag reading". The cursor is the last
 * name that was given, so that it survives a restart and fits another client.
 */
import type { CallOptions, ListOptions } from '../../store/store.js';
import { atMost, signalOf } from './library-context.js';

/** Names behind `last`. */
export type NameSource = (options: ListOptions) => AsyncIterable<string>;

export class TagReader implements AsyncIterable<string> {
  readonly #source: NameSource;
  #cursor: string | undefined;
  #ended = false;

  constructor(source: NameSource, cursor?: string) {
    this.#source = source;
    this.#cursor = cursor;
  }

  /** The last name that was given: a reader made with it goes on behind it. Undefined at the beginning. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** True once the store had no more. Reading again asks again. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * The next `count` names, fewer only at the end. What fails is read again by the next call.
   * @throws ImgfsError what the store throws.
   */
  async read(count: number, options: CallOptions = {}): Promise<readonly string[]> {
    const page: string[] = [];
    const from = this.#cursor === undefined ? {} : { last: this.#cursor };
    const names = this.#source({ ...signalOf(options), ...from, pageSize: count });
    for await (const name of atMost(names, count)) page.push(name);
    this.#cursor = page.at(-1) ?? this.#cursor;
    this.#ended = page.length < count;
    return page;
  }

  /** Every name behind the cursor, which follows along. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    const from = this.#cursor === undefined ? {} : { last: this.#cursor };
    for await (const name of this.#source(from)) {
      this.#cursor = name;
      yield name;
    }
    this.#ended = true;
  }
}
