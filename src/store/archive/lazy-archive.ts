/**
 * A compressed archive of which an index was kept: decoded as far as it is read, into a file without a name.
 *
 * A run is a place at which decoding can start and the spans behind it that are only reached from there
 * (src/layer/index/span-table.ts); it is the piece that is decoded at once, 4 MiB and more.
 */
import { unlink, type FileHandle } from 'node:fs/promises';
import { loadAddon } from '../../addon/load-addon.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../store.js';
import type { ArchiveIndex, SmallMember } from './archive-index.js';
import { formatNumbers } from './unpack-native.js';

interface SpanAddon {
  openSpans(format: number, kind: number, bits: number, window: Uint8Array, windowLength: number): object;
  nextSpan(
    handle: object,
    input: Uint8Array,
    output: Uint8Array,
    sha256: Uint8Array,
    crc: number,
    check: number,
  ): Promise<number>;
}

const recordBytes = 80;
const insideKind = 2;
/** Sha256 of what goes in and CRC-32 of what comes out. */
const checkBoth = 0;

interface Span {
  readonly in: number;
  readonly inEnd: number;
  readonly out: number;
  readonly outEnd: number;
  readonly kind: number;
  readonly bits: number;
  readonly crc: number;
  readonly sha256: Uint8Array;
  readonly windowLength: number;
  readonly windowStored: number;
  readonly windowAt: number;
}

/** Undefined when records do not follow each other: the index is of no use. */
function parseSpans(records: Buffer, size: number): readonly (readonly Span[])[] | undefined {
  const runs: Span[][] = [];
  let [before, windowAt] = [0, 0];
  for (let at = 0; at + recordBytes <= records.length; at += recordBytes) {
    const span: Span = {
      in: records.readDoubleLE(at),
      inEnd: records.readDoubleLE(at + 8),
      out: records.readDoubleLE(at + 16),
      outEnd: records.readDoubleLE(at + 24),
      kind: records[at + 32] ?? 0,
      bits: records[at + 33] ?? 0,
      crc: records.readUInt32LE(at + 36),
      sha256: records.subarray(at + 40, at + 72),
      windowLength: records.readUInt32LE(at + 72),
      windowStored: records.readUInt32LE(at + 76),
      windowAt,
    };
    if (span.out !== before || span.outEnd < span.out || span.inEnd < span.in) return undefined;
    before = span.outEnd;
    windowAt += span.windowStored;
    const run = runs.at(-1);
    if (span.kind !== insideKind) runs.push([span]);
    else if (run === undefined) return undefined;
    else run.push(span);
  }
  return before === size ? runs : undefined;
}

export class LazyArchive {
  private readonly source: FileHandle;
  private readonly target: FileHandle;
  private readonly index: ArchiveIndex;
  private readonly addon: SpanAddon;
  private readonly runs: readonly (readonly Span[])[];
  /** By number of the run: decoded, or under way. */
  private readonly decoded = new Map<number, Promise<void>>();

  private constructor(
    source: FileHandle,
    target: FileHandle,
    index: ArchiveIndex,
    addon: SpanAddon,
    runs: readonly (readonly Span[])[],
  ) {
    this.source = source;
    this.target = target;
    this.index = index;
    this.addon = addon;
    this.runs = runs;
  }

  /** Undefined without the addon, or when the index is of no use. `target` gets what is decoded, at its place. */
  static async open(
    source: FileHandle,
    target: FileHandle,
    index: ArchiveIndex,
  ): Promise<LazyArchive | undefined> {
    const addon = loadAddon().addon?.layer as SpanAddon | undefined;
    const runs = typeof addon?.openSpans === 'function' ? parseSpans(index.spans, index.size) : undefined;
    if (addon === undefined || runs === undefined) return undefined;
    for (const { offset, bytes } of index.small) await target.write(bytes, 0, bytes.length, offset);
    await target.truncate(index.size);
    return new LazyArchive(source, target, index, addon, runs);
  }

  /**
   * Decoded bytes `[start, end)` are in the target now.
   * @throws ImgfsError `stale` when the archive is not what it was when the index was made; `interrupted`.
   */
  async ensure(start: number, end: number, { signal }: CallOptions = {}): Promise<void> {
    const isSmall = ({ offset, bytes }: SmallMember): boolean =>
      start >= offset && end <= offset + bytes.length;
    if (this.index.small.some(isSmall)) return;
    for (let run = this.find(start); run < this.runs.length; run += 1) {
      if ((this.runs[run]?.[0]?.out ?? Infinity) >= end) return;
      if (signal?.aborted === true) throw new ImgfsError('interrupted', 'unpack archive: given up');
      const known = this.decoded.get(run) ?? this.decode(run);
      this.decoded.set(run, known);
      await known;
    }
  }

  /** Number of the run that holds a position. */
  private find(position: number): number {
    let [low, high] = [0, this.runs.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.runs[middle]?.[0]?.out ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  private async decode(number: number): Promise<void> {
    try {
      await this.decodeRun(this.runs[number] ?? []);
    } catch (error) {
      this.decoded.delete(number);
      throw error;
    }
  }

  private async decodeRun(run: readonly Span[]): Promise<void> {
    const [first] = run;
    if (first === undefined) return;
    const { windowLength, windowStored, windowAt, kind, bits } = first;
    const window = Buffer.alloc(windowStored);
    await this.fill(this.index.handle, window, this.index.windowsAt + windowAt);
    const format = formatNumbers[this.index.format];
    const reader = this.addon.openSpans(format, kind, bits, asBytes(window), windowLength);
    for (const span of run) {
      const input = Buffer.allocUnsafeSlow(span.inEnd - span.in);
      const output = Buffer.allocUnsafeSlow(span.outEnd - span.out);
      await this.fill(this.source, input, span.in);
      const sha256 = new Uint8Array(span.sha256);
      const result = await this.addon.nextSpan(
        reader,
        asBytes(input),
        asBytes(output),
        sha256,
        span.crc,
        checkBoth,
      );
      if (result !== 0) await this.refuse();
      for (let written = 0; written < output.length;) {
        const left = output.length - written;
        written += (await this.target.write(output, written, left, span.out + written)).bytesWritten;
      }
    }
  }

  private async fill(handle: FileHandle, buffer: Buffer, position: number): Promise<void> {
    for (let filled = 0; filled < buffer.length;) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, position + filled);
      if (bytesRead === 0) await this.refuse();
      filled += bytesRead;
    }
  }

  /** The next one who opens the archive makes a new index. @throws always. */
  private async refuse(): Promise<never> {
    await unlink(this.index.path).catch(() => undefined);
    throw new ImgfsError('stale', 'unpack archive: it is not what it was when its index was made', {
      hint: 'open it again',
    });
  }
}

function asBytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
