/**
 * The index of one layer on disk: `<cache>/index/<alg>-<hex>.lidx`.
 *
 *     0   "imgfs-lidx", version, byte order          16 bytes
 *     16  windows, deflated one by one               read when a span needs its own
 *     …   entries (table-codec.ts), deflated
 *     …   spans (span-table.ts), deflated
 *     …   JSON: what layer this is, counts
 *     …   f64 offset of entries, spans, JSON; f64 length of the file; sha256 from the entries up to here
 *
 * Windows carry no checksum of their own: a wrong one gives wrong bytes, which the CRC of the span tells. A file
 * that cannot be read is no error but an index to be made anew.
 */
import { createHash, randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createDeflateRaw, inflateRaw } from 'node:zlib';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import type { LayerFormat } from '../native/layer-addon.js';
import { BytePool } from './byte-pool.js';
import { byteOrder, type EntryTable } from './entry-table.js';
import { Turns } from '../turns.js';
import { SpanTable, type Span } from './span-table.js';
import { decodeTable, encodeTable, type TableCounts } from './table-codec.js';

/** Raised when the meaning of the file changes: older files are made anew. */
export const indexVersion = 2;

const headerBytes = 16;
const footerBytes = 64;
const header = Buffer.from(
  `imgfs-lidx\0${byteOrder}\0`.padEnd(15, '\0') + String.fromCharCode(indexVersion),
  'latin1',
);

/** No real index is larger: entries are bounded by `maxPoolBytes`, and spans are 80 bytes for each MiB. */
const maxSectionBytes = 1024 * 1024 * 1024;

/** Where the knowledge comes from. */
export type IndexOrigin = 'pass' | 'estargz' | 'zstd-chunked' | 'soci';

/** What an index says about its layer as a whole. */
export interface IndexFacts {
  readonly digest: Digest;
  readonly format: LayerFormat;
  /** Length of the blob in bytes. */
  readonly blobSize: number;
  /** Length of the decoded archive in bytes. */
  readonly decodedSize: number;
  readonly origin: IndexOrigin;
}

interface Meta extends IndexFacts {
  readonly counts: TableCounts;
  /** Length of the entries, and of the spans, when inflated. */
  readonly tableBytes: number;
  readonly spanBytes: number;
}

interface InflateOptions {
  readonly maxOutputLength: number;
  readonly chunkSize: number;
}
const inflateAsync = promisify<Uint8Array, InflateOptions, Buffer<ArrayBuffer>>(inflateRaw);

/** Inflate into one piece: joining many would hold up the thread. */
async function inflate(packed: Uint8Array, length: number): Promise<Buffer<ArrayBuffer>> {
  if (!(length >= 0 && length <= maxSectionBytes)) throw damaged('its parts are not in place');
  const inflated = await inflateAsync(packed, {
    maxOutputLength: length + 1,
    chunkSize: Math.max(64, length + 1),
  });
  if (inflated.length !== length) throw damaged('its parts are not in place');
  return inflated;
}

/** Deflate what lies in pieces; the memory is not needed twice. */
async function deflateParts(parts: readonly Uint8Array[]): Promise<Buffer> {
  const source = Readable.from(slices(parts), { objectMode: false });
  const stream = createDeflateRaw({ level: 6, chunkSize: 256 * 1024 });
  const deflated: Buffer[] = [];
  await pipeline(source, stream, async (pieces: AsyncIterable<Buffer>) => {
    for await (const piece of pieces) deflated.push(piece);
  });
  return Buffer.concat(deflated);
}

function* slices(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 1 << 20) yield part.subarray(at, at + (1 << 20));
  }
}

/** sha256 of much data without holding up the thread: 1 MiB takes 3 ms. */
async function sha256(parts: readonly Uint8Array[]): Promise<Buffer> {
  const hash = createHash('sha256');
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 1 << 20) {
      hash.update(part.subarray(at, at + (1 << 20)));
      if (part.length > 1 << 20) await nextTurn();
    }
  }
  return hash.digest();
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function readFully(
  file: FileHandle,
  length: number,
  position: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(bytes, at, length - at, position + at);
    if (bytesRead === 0) throw damaged('it is cut off');
    at += bytesRead;
  }
  return bytes;
}

function damaged(reason: string): ImgfsError {
  return new ImgfsError('invalid-content', `read layer index: ${reason}`);
}

async function createFile(path: string): Promise<FileHandle> {
  await rm(path, { force: true });
  return open(path, 'wx+', 0o600);
}

/** Writes an index: windows as they come, the rest at the end. The file appears under its name whole or not at all. */
export class IndexWriter {
  private readonly path: string;
  private readonly temporary: string;
  private readonly file: FileHandle | undefined;
  private length = headerBytes;
  /** Windows, when the disk does not take them: 0.5 % of the layer. */
  private memory: BytePool | undefined;

  private constructor(path: string, temporary: string, file: FileHandle | undefined) {
    this.path = path;
    this.temporary = temporary;
    this.file = file;
    if (file === undefined) this.memory = new BytePool();
  }

  /** Begin. Where the disk takes no file the windows stay in memory, and `seal` fails. */
  static async create(
    path: string,
    temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`,
  ): Promise<IndexWriter> {
    const file = await createFile(temporary).catch(() => undefined);
    return new IndexWriter(path, temporary, file);
  }

  /** Go on with a file that an interrupted pass left: windows up to `windowBytes` are kept. */
  static async resume(path: string, temporary: string, windowBytes: number): Promise<IndexWriter> {
    const file = await open(temporary, 'r+');
    const writer = new IndexWriter(path, temporary, file);
    writer.length = headerBytes + windowBytes;
    if (windowBytes > 0 && (await file.stat()).size < writer.length) {
      await file.close();
      throw damaged('windows of an interrupted pass are missing');
    }
    await file.truncate(writer.length);
    return writer;
  }

  /** Keep windows; in memory when the disk does not take them. */
  async appendWindows(windows: Uint8Array): Promise<void> {
    if (this.file !== undefined && this.memory === undefined) {
      try {
        await writeFully(this.file, windows, this.length);
      } catch {
        const before = await readFully(this.file, this.length - headerBytes, headerBytes);
        this.memory = new BytePool(before);
      }
    }
    this.memory?.append(windows);
    this.length += windows.length;
  }

  /** A window that was appended: the layer is read while it is indexed. */
  async readWindow(span: Span): Promise<Uint8Array> {
    const { windowOffset, windowStored } = span;
    if (this.file === undefined || this.memory !== undefined)
      return this.memory?.all().slice(windowOffset, windowOffset + windowStored) ?? new Uint8Array(0);
    return readFully(this.file, windowStored, headerBytes + windowOffset);
  }

  /** Write the rest and give the file its name. The writer is closed then. @throws what the disk says. */
  async seal(facts: IndexFacts, table: EntryTable, spans: SpanTable): Promise<void> {
    const { file } = this;
    if (file === undefined || this.memory !== undefined)
      throw new ImgfsError('cache-full', 'write layer index: the disk takes nothing');
    const { counts, parts } = encodeTable(table);
    const tableBytes = parts.reduce((sum, part) => sum + part.length, 0);
    const entries = await deflateParts(parts);
    const spanRecords = spans.toBytes();
    const spanBytes = await deflateParts([spanRecords]);
    const meta: Meta = { ...facts, counts, tableBytes, spanBytes: spanRecords.length };
    const json = Buffer.from(JSON.stringify(meta));
    const entriesAt = this.length;
    const spansAt = entriesAt + entries.length;
    const metaAt = spansAt + spanBytes.length;
    const end = metaAt + json.length + footerBytes;
    const places = Buffer.alloc(footerBytes - 32);
    [entriesAt, spansAt, metaAt, end].forEach((value, index) => places.writeDoubleLE(value, index * 8));
    const sum = await sha256([entries, spanBytes, json, places]);
    await writeFully(file, header, 0);
    await writeFully(file, entries, entriesAt);
    await writeFully(file, spanBytes, spansAt);
    await writeFully(file, Buffer.concat([json, places, sum]), metaAt);
    await file.sync();
    await file.close();
    await rename(this.temporary, this.path);
    await syncFolder(dirname(this.path));
  }

  /** Stop; `remove` deletes what was written. */
  async abandon(remove: boolean): Promise<void> {
    await this.file?.close().catch(() => undefined);
    if (remove) await rm(this.temporary, { force: true }).catch(() => undefined);
  }
}

/**
 * What an index says about its layer, without reading the rest of it; undefined when there is none that can be used.
 * Not checked against the file's checksum: good enough to show, not to read by.
 */
export async function peekIndexFacts(path: string, digest: Digest): Promise<IndexFacts | undefined> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    if (size < headerBytes + footerBytes || !header.equals(await readFully(file, headerBytes, 0)))
      return undefined;
    const footer = Buffer.from(await readFully(file, footerBytes, size - footerBytes));
    const metaAt = footer.readDoubleLE(16);
    // The JSON is a few hundred bytes.
    if (!(metaAt >= headerBytes && metaAt <= size - footerBytes && size - metaAt < 65_536)) return undefined;
    const json = Buffer.from(await readFully(file, size - footerBytes - metaAt, metaAt)).toString('utf8');
    const meta = JSON.parse(json) as Meta;
    return meta.digest === digest ? meta : undefined;
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  // Some network file systems cannot fsync a folder: they need no help.
  await handle.sync().catch(() => undefined);
  await handle.close();
}

/** An index that was read: entries and spans in memory, windows on disk. */
export class IndexFile {
  readonly facts: IndexFacts;
  readonly table: EntryTable;
  readonly spans: SpanTable;
  /** Bytes on disk. */
  readonly size: number;
  private readonly file: FileHandle;

  private constructor(file: FileHandle, meta: Meta, table: EntryTable, spans: SpanTable, size: number) {
    this.file = file;
    const { digest, format, blobSize, decodedSize, origin } = meta;
    this.facts = { digest, format, blobSize, decodedSize, origin };
    this.table = table;
    this.spans = spans;
    this.size = size;
  }

  /**
   * Read the index of `digest`. Undefined when there is none.
   * @throws ImgfsError `invalid-content` when it cannot be used: make it anew.
   */
  static async open(path: string, digest: Digest): Promise<IndexFile | undefined> {
    const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return undefined;
    try {
      return await IndexFile.load(file, digest);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Deflated window of a span. */
  async readWindow(span: Span): Promise<Uint8Array> {
    return readFully(this.file, span.windowStored, headerBytes + span.windowOffset);
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private static async load(file: FileHandle, digest: Digest): Promise<IndexFile> {
    const { size } = await file.stat();
    if (size < headerBytes + footerBytes) throw damaged('it is cut off');
    if (!header.equals(await readFully(file, headerBytes, 0)))
      throw damaged('it is of another version or machine');
    const footer = Buffer.from((await readFully(file, footerBytes, size - footerBytes)).buffer);
    const places = [0, 8, 16, 24].map((at) => footer.readDoubleLE(at));
    const [entriesAt = 0, spansAt = 0, metaAt = 0, end = 0] = places;
    const ordered =
      headerBytes <= entriesAt && entriesAt <= spansAt && spansAt <= metaAt && metaAt <= size - footerBytes;
    if (end !== size || !ordered || size - entriesAt > maxSectionBytes)
      throw damaged('its parts are not in place');
    const bytes = await readFully(file, size - footerBytes - entriesAt, entriesAt);
    const sum = await sha256([bytes, footer.subarray(0, footerBytes - 32)]);
    if (!sum.equals(footer.subarray(footerBytes - 32))) throw damaged('its checksum does not match');
    const meta = JSON.parse(Buffer.from(bytes.subarray(metaAt - entriesAt)).toString('utf8')) as Meta;
    if (meta.digest !== digest) throw damaged('it belongs to another layer');
    const packed = bytes.subarray(0, spansAt - entriesAt);
    const tableBytes = await inflate(packed, meta.tableBytes);
    const packedSpans = bytes.subarray(spansAt - entriesAt, metaAt - entriesAt);
    const spanBytes = await inflate(packedSpans, meta.spanBytes);
    // All layers of an image get here in the same turn.
    const turns = new Turns();
    await turns.yield();
    const table = decodeTable(meta.counts, tableBytes);
    const spans = await SpanTable.of(spanBytes, turns);
    if (spans.windowBytes !== entriesAt - headerBytes) throw damaged('its windows are not in place');
    return new IndexFile(file, meta, table, spans, size);
  }
}
