/**
 * What an index pass has learnt so far, on disk, so that an interrupted one goes on instead of starting over.
 *
 * A journal is a file of frames, one for each 16 MiB of the blob: u32 length, u32 CRC-32, then a payload of
 * f64 bytes of windows, u32 lengths of state, entries and spans, and these three. A frame that is cut or damaged ends
 * the journal. It means something only to the build of the addon that wrote it, whose version is in the state.
 */
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { SpanTable, spanRecordBytes } from '../index/span-table.js';
import type { Turns } from '../turns.js';
import type { IndexerStep } from '../native/layer-addon.js';
import { littleEndian } from '../tar/entry-record.js';
import type { LayerIndexer } from './layer-indexer.js';

const log = createLogger('layer');

/** Bytes of the blob between two frames: 0.7 s at 200 Mbit/s are lost at most, a frame costs 1 ms. */
export const defaultCommitBytes = 16 << 20;
/** Records of entries in one frame: putting 2 MiB together takes 1 ms. */
const maxPendingBytes = 2 << 20;
const frameHeaderBytes = 8;
const payloadHeaderBytes = 20;
/** Entries of 16 MiB of blob are far below this. */
const maxFrameBytes = 1 << 30;

/** Where the indexer stood when the state was saved: fixed places of `LayerIndexer::saved` in C++. */
export interface SavedPosition {
  /** Offset of the next byte of the blob to be given. */
  readonly inBytes: number;
  readonly outBytes: number;
  readonly entries: number;
  readonly spans: number;
}

export function savedPosition(saved: Uint8Array): SavedPosition {
  const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength);
  const bits = view.getUint8(34);
  return {
    inBytes: view.getFloat64(17, littleEndian) + (bits > 0 ? 1 : 0),
    outBytes: view.getFloat64(25, littleEndian),
    entries: Number(view.getBigUint64(36, littleEndian)),
    spans: Number(view.getBigUint64(44, littleEndian)),
  };
}

function frame(windowBytes: number, parts: readonly Uint8Array[]): Buffer {
  const length = payloadHeaderBytes + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = Buffer.alloc(frameHeaderBytes + length);
  bytes.writeUInt32LE(length, 0);
  bytes.writeDoubleLE(windowBytes, 8);
  let at = frameHeaderBytes + payloadHeaderBytes;
  for (const [index, part] of parts.entries()) {
    bytes.writeUInt32LE(part.length, 16 + index * 4);
    bytes.set(part, at);
    at += part.length;
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(frameHeaderBytes)), 4);
  return bytes;
}

/** Writes a journal while a pass runs. */
export class JournalWriter {
  private readonly file: FileHandle;
  private readonly spans: SpanTable;
  /** Records of entries that no frame has yet, and how many entries the frames have. */
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;
  private entries: number;
  private spanCount: number;
  private inBytes: number;

  private constructor(file: FileHandle, spans: SpanTable, from: SavedPosition | undefined) {
    this.file = file;
    this.spans = spans;
    this.entries = from?.entries ?? 0;
    this.spanCount = from?.spans ?? 0;
    this.inBytes = from?.inBytes ?? 0;
  }

  /** Begin at the start, or behind what `readJournal` found. */
  static async create(
    path: string,
    spans: SpanTable,
    commitBytes: number,
    from?: RecoveredPass,
  ): Promise<JournalWriter> {
    const file = await open(path, from === undefined ? 'w' : 'r+', 0o600);
    await file.truncate(from?.journalBytes ?? 0);
    const writer = new JournalWriter(file, spans, from === undefined ? undefined : savedPosition(from.saved));
    writer.length = from?.journalBytes ?? 0;
    writer.commitBytes = commitBytes;
    return writer;
  }

  private length = 0;
  private isBroken = false;
  private commitBytes = defaultCommitBytes;

  /** Note what a step brought. A disk that does not take it makes the pass one that cannot be resumed further on. */
  async record(step: IndexerStep, indexer: LayerIndexer): Promise<void> {
    if (this.isBroken) return;
    try {
      await this.note(step, indexer);
    } catch (error) {
      this.isBroken = true;
      this.pending = [];
      log.warn('journal of an index pass cannot be written', { error: String(error) });
    }
  }

  private async note(step: IndexerStep, indexer: LayerIndexer): Promise<void> {
    if (step.entries.length > 0) this.pending.push(step.entries);
    this.pendingBytes += step.entries.length;
    if (step.inTotal - this.inBytes < this.commitBytes && this.pendingBytes < maxPendingBytes) return;
    const saved = indexer.save();
    if (saved === undefined) return;
    const position = savedPosition(saved);
    // Nothing new to start from since the last frame: a long run of spans that depend on each other.
    if (position.inBytes <= this.inBytes) return;
    const entries = this.takeEntries(position.entries - this.entries);
    const records = this.spans
      .toBytes()
      .slice(this.spanCount * spanRecordBytes, position.spans * spanRecordBytes);
    const bytes = frame(this.spans.windowBytesBefore(position.spans), [saved, entries, records]);
    await this.file.write(bytes, 0, bytes.length, this.length);
    this.length += bytes.length;
    this.entries = position.entries;
    this.spanCount = position.spans;
    this.inBytes = position.inBytes;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Take the first `count` records off the pending ones. */
  private takeEntries(count: number): Uint8Array {
    const all = Buffer.concat(this.pending);
    let at = 0;
    for (let left = count; left > 0; left -= 1)
      at += new DataView(all.buffer, all.byteOffset + at).getUint32(0, littleEndian);
    this.pending = [all.subarray(at)];
    this.pendingBytes = all.length - at;
    return all.subarray(0, at);
  }
}

/** What a journal gives back. */
export interface RecoveredPass {
  readonly saved: Uint8Array;
  /** Records of entries and spans up to there. */
  readonly entries: readonly Uint8Array[];
  readonly spans: Uint8Array<ArrayBuffer>;
  readonly windowBytes: number;
  /** Bytes of the journal that were good. */
  readonly journalBytes: number;
}

/** Read what an interrupted pass left; undefined when there is nothing to go on from. */
export async function readJournal(path: string): Promise<RecoveredPass | undefined> {
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const entries: Uint8Array[] = [];
  const spans: Uint8Array[] = [];
  let last: { saved: Uint8Array; windowBytes: number } | undefined;
  let at = 0;
  while (bytes.length - at >= frameHeaderBytes + payloadHeaderBytes) {
    const length = bytes.readUInt32LE(at);
    const payload = bytes.subarray(at + frameHeaderBytes, at + frameHeaderBytes + length);
    if (length > maxFrameBytes || payload.length !== length || length < payloadHeaderBytes) break;
    if (crc32(payload) !== bytes.readUInt32LE(at + 4)) break;
    let place = payloadHeaderBytes;
    const take = (index: number): Uint8Array => {
      const part = payload.subarray(place, place + payload.readUInt32LE(8 + index * 4));
      place += part.length;
      return part;
    };
    last = { saved: Uint8Array.from(take(0)), windowBytes: payload.readDoubleLE(0) };
    entries.push(take(1));
    spans.push(take(2));
    at += frameHeaderBytes + length;
  }
  if (last === undefined) return undefined;
  return { ...last, entries, spans: new Uint8Array(Buffer.concat(spans)), journalBytes: at };
}

/** Spans of a recovered pass. @throws ImgfsError `invalid-content` when they do not fit together. */
export async function recoveredSpans(pass: RecoveredPass, turns: Turns): Promise<SpanTable> {
  const spans = await SpanTable.of(pass.spans, turns);
  const { spans: count } = savedPosition(pass.saved);
  if (spans.count === count && spans.windowBytes === pass.windowBytes) return spans;
  throw new ImgfsError('invalid-content', 'resume index pass: its journal does not fit together');
}
