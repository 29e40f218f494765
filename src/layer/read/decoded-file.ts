/**
 * The decoded archive of one layer on disk, in a sparse file, span by span: `<cache>/decoded/<alg>-<hex>.tar`, and
 * beside it `….map`, one byte for each span: 1 when it was written.
 *
 * The map is only a hint. A span from an earlier run (or from another process) is believed after its checksum matched, so
 * that torn writes, flipped bits and other processes at work do no harm.
 */
import { constants } from 'node:fs';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { createLogger } from '../../observe/log.js';
import type { SharedFileReader } from '../../content/shared-file.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { ByteRange } from '../../store/store.js';
import { layerAddon } from '../native/layer-addon.js';
import { digestAlgorithm, digestHex, type Digest } from '../../oci/digest.js';
import type { Span, SpanTable } from '../index/span-table.js';
import { isRightOutput } from './span-bytes.js';

const log = createLogger('layer');

/** Name of a layer's files in the folders of the cache, without suffix: `sha256-<hex>`. */
export function layerKey(digest: Digest): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
}

/** Files of processes without the addon. */
const unlockedSuffix = '~unlocked';

const state = { absent: 0, unchecked: 1, present: 2 } as const;

export interface DecodedFileOptions {
  /** Told of every span written: its length in bytes. */
  readonly onGrow?: (bytes: number) => void;
  /** Behind the layer's name: spans of an index that is not our own lie elsewhere. */
  readonly suffix?: string;
}

export class DecodedFile {
  private readonly data: FileHandle;
  private readonly map: FileHandle;
  private readonly onGrow: (bytes: number) => void;
  private states: Uint8Array;
  /** When each span was used, by `clock`. */
  private usedAt = new Uint32Array(0);
  private clock = 0;
  private readonly held = new Set<ByteRange>();
  private readonly readers = new Set<SharedFileReader>();
  private punching: Promise<unknown> = Promise.resolve();
  /** Raised before spans go. Who read without a hold looks whether it is what it was. */
  epoch = 0;
  private toldLost = false;

  private constructor(data: FileHandle, map: FileHandle, states: Uint8Array, options: DecodedFileOptions) {
    this.data = data;
    this.map = map;
    this.states = states;
    this.onGrow = options.onGrow ?? (() => undefined);
  }

  /** Open or make the files of `digest` in `folder`. */
  static async open(folder: string, digest: Digest, options: DecodedFileOptions = {}): Promise<DecodedFile> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const addon = layerAddon();
    // Who cannot lock must not share: another process could give the room of spans back that this one believes in.
    const unlocked = addon === undefined ? unlockedSuffix : '';
    const path = join(folder, `${layerKey(digest)}${options.suffix ?? ''}${unlocked}`);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const data = await open(`${path}.tar`, flags, 0o600);
    try {
      if (addon !== undefined && !(await addon.lockShared(data.fd)))
        throw new ImgfsError('cache-full', 'keep decoded layer: its file cannot be locked');
      const map = await open(`${path}.map`, flags, 0o600);
      const { size } = await map.stat();
      const states = new Uint8Array(Math.min(size, 1 << 26));
      await map.read(states, 0, states.length, 0);
      return new DecodedFile(
        data,
        map,
        states.map((byte) => (byte === 1 ? state.unchecked : state.absent)),
        options,
      );
    } catch (error) {
      await data.close();
      throw error;
    }
  }

  /** Remove the files of `digest`. Readers that have them open keep what they have. */
  static async remove(folder: string, digest: Digest, suffix = ''): Promise<void> {
    const path = join(folder, `${layerKey(digest)}${suffix}`);
    await rm(`${path}.map`, { force: true });
    await rm(`${path}.tar`, { force: true });
  }

  /** Descriptor for those who read without us: ranges of present spans only. */
  get fd(): number {
    return this.data.fd;
  }

  /** The spans of a range stay until the answer is called: somebody reads them without asking. */
  hold(range: ByteRange): () => void {
    const held = { ...range };
    this.held.add(held);
    return () => this.held.delete(held);
  }

  /** Tell who reads without asking what comes and goes, until the answer is called. */
  attach(reader: SharedFileReader): () => void {
    this.readers.add(reader);
    return () => this.readers.delete(reader);
  }

  /**
   * Give back room: the half of the spans that was used longest ago, without those that somebody holds or reads. Returns
   * bytes freed; 0 when another process has the file open.
   */
  async shrink(spans: SpanTable): Promise<number> {
    const addon = layerAddon();
    if (addon === undefined) return 0;
    // First nobody begins to read them, then they go.
    const chosen = this.takeBack(this.victims(spans));
    if (chosen.length === 0) return 0;
    this.epoch += 1;
    const before = chosen.map(({ index }) => this.states[index] ?? state.absent);
    for (const { index } of chosen) this.setState(index, state.absent);
    const holes = new Uint8Array(
      Float64Array.from(chosen.flatMap(({ index, out, outEnd }) => [out, outEnd, index])).buffer,
    );
    const punched = addon.punchHoles(this.data.fd, this.map.fd, holes);
    this.punching = punched.catch(() => undefined);
    if (!(await punched)) {
      for (const [place, { index, out, outEnd }] of chosen.entries()) {
        this.setState(index, before[place] ?? state.absent);
        if (this.isPresent(index)) this.tellAdded({ start: out, end: outEnd });
      }
      return 0;
    }
    return chosen.reduce((sum, { out, outEnd }) => sum + outEnd - out, 0);
  }

  /** Those of the spans that nobody reads; nobody will from now on. */
  private takeBack(spans: readonly Span[]): Span[] {
    let free = [...spans];
    for (const reader of this.readers) {
      const mayGo = reader.takeBack(free.map(({ out, outEnd }) => ({ start: out, end: outEnd })));
      free = free.filter((_, place) => mayGo[place] === true);
    }
    return free;
  }

  private tellAdded(range: ByteRange): void {
    for (const reader of this.readers) reader.added(range);
  }

  private victims(spans: SpanTable): Span[] {
    const there: Span[] = [];
    for (let index = 0; index < Math.min(spans.count, this.states.length); index += 1) {
      if (this.states[index] === state.absent) continue;
      const span = spans.get(index);
      const isHeld = [...this.held].some(({ start, end }) => start < span.outEnd && span.out < end);
      if (!isHeld) there.push(span);
    }
    there.sort((a, b) => (this.usedAt[a.index] ?? 0) - (this.usedAt[b.index] ?? 0));
    return there.slice(0, Math.ceil(there.length / 2));
  }

  /** Note that a span was used. */
  touch(index: number): void {
    if (index >= this.usedAt.length) {
      const grown = new Uint32Array(Math.max(index + 1, this.states.length, this.usedAt.length * 2));
      grown.set(this.usedAt);
      this.usedAt = grown;
    }
    this.clock += 1;
    this.usedAt[index] = this.clock;
  }

  /** The span is on disk, and its bytes were checked in this process. */
  isPresent(index: number): boolean {
    return this.states[index] === state.present;
  }

  /** The span is on disk, or an earlier process said so. */
  mayHave(index: number): boolean {
    return (this.states[index] ?? state.absent) !== state.absent;
  }

  /** True when the span is there and right; looks at its bytes the first time. */
  async check(span: Span): Promise<boolean> {
    const known = this.states[span.index] ?? state.absent;
    if (known !== state.unchecked) return known === state.present;
    const bytes = Buffer.allocUnsafe(span.outEnd - span.out);
    const right = (await this.readAt(bytes, span.out)) === bytes.length && (await isRightOutput(span, bytes));
    // Given back meanwhile: what was right is gone.
    if (!this.isUnchecked(span.index)) return this.isPresent(span.index);
    this.setState(span.index, right ? state.present : state.absent);
    if (right) this.tellAdded({ start: span.out, end: span.outEnd });
    return right;
  }

  /** An earlier process said that the span is there; nobody has looked yet. */
  isUnchecked(index: number): boolean {
    return this.states[index] === state.unchecked;
  }

  /** Look at spans `[from, to)` that are unchecked, off the JavaScript thread where that can be. */
  async checkAll(spans: SpanTable, from: number, to: number): Promise<void> {
    const addon = layerAddon();
    let next = from;
    while (next < to) {
      const right = (await addon?.countRight(spans.records(next, to), this.data.fd)) ?? 0;
      // Given back meanwhile: not there any more.
      this.markPresent(spans, next, next + right, (index) => this.isUnchecked(index));
      next += right;
      if (next < to) await this.check(spans.get(next));
      next += 1;
    }
  }

  /** Keep a span that was just decoded and checked. False when the disk does not take it. */
  async write(span: Span, bytes: Uint8Array): Promise<boolean> {
    await this.punching;
    this.touch(span.index);
    try {
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await this.data.write(bytes, at, bytes.length - at, span.out + at);
        at += bytesWritten;
      }
      this.setState(span.index, state.present);
      this.tellAdded({ start: span.out, end: span.outEnd });
      this.onGrow(span.outEnd - span.out);
      await this.map.write(Uint8Array.of(1), 0, 1, span.index);
      return true;
    } catch (error) {
      this.tellLost(error);
      return false;
    }
  }

  /** Let `write` put spans from number `from` on through the descriptor; it tells how many were `done`. */
  async take<Outcome extends { readonly done: number }>(
    spans: SpanTable,
    from: number,
    write: (fd: number) => Promise<Outcome>,
  ): Promise<Outcome> {
    await this.punching;
    const outcome = await write(this.data.fd);
    const to = from + outcome.done;
    for (let index = from; index < to; index += 1) this.touch(index);
    if (to > from) await this.written(spans, from, to);
    return outcome;
  }

  /** Spans `[from, to)` were written through the descriptor. */
  async written(spans: SpanTable, from: number, to: number): Promise<void> {
    this.onGrow(this.markPresent(spans, from, to));
    try {
      await this.map.write(new Uint8Array(to - from).fill(1), 0, to - from, from);
    } catch (error) {
      // It is there for this process; the next one decodes it again.
      this.tellLost(error);
    }
  }

  /**
   * Spans `[from, to)`, without those that `which` leaves out, are there now. Neighbours are told as one range: each one
   * told is a call into the addon for each mount, and a layer has a thousand spans. Returns their bytes.
   */
  private markPresent(
    spans: SpanTable,
    from: number,
    to: number,
    which: (index: number) => boolean = () => true,
  ): number {
    let bytes = 0;
    let run: ByteRange | undefined;
    for (let index = from; index < to; index += 1) {
      if (!which(index)) continue;
      this.setState(index, state.present);
      const { start, end } = spans.outOf(index);
      bytes += end - start;
      if (run?.end === start) run = { start: run.start, end };
      else {
        if (run !== undefined) this.tellAdded(run);
        run = { start, end };
      }
    }
    if (run !== undefined) this.tellAdded(run);
    return bytes;
  }

  /** Read present bytes; the number read is short only at the end of the file. */
  async readAt(buffer: Uint8Array, position: number): Promise<number> {
    let at = 0;
    while (at < buffer.length) {
      const { bytesRead } = await this.data.read(buffer, at, buffer.length - at, position + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return at;
  }

  /** Believe nothing any more: the spans are to be made anew. Who reads without asking keeps what it has. */
  async forget(): Promise<void> {
    this.epoch += 1;
    this.states.fill(state.absent);
    for (const reader of this.readers) reader.forgotten();
    await this.map.truncate(0).catch((error: unknown) => this.tellLost(error));
  }

  async close(): Promise<void> {
    for (const reader of this.readers) reader.closed();
    this.readers.clear();
    await this.map.close();
    await this.data.close();
  }

  private tellLost(error: unknown): void {
    if (!this.toldLost) log.warn('cannot keep decoded bytes', { error: String(error) });
    this.toldLost = true;
  }

  private setState(index: number, value: number): void {
    if (index >= this.states.length) {
      const grown = new Uint8Array(Math.max(index + 1, this.states.length * 2));
      grown.set(this.states);
      this.states = grown;
    }
    this.states[index] = value;
  }
}
