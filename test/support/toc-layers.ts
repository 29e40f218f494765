/**
 * Layers with a table of contents, laid out as their writers do it: eStargz as stargz-snapshotter's estargz/estargz.go
 * (`appendTar`), zstd:chunked as containers/storage's pkg/chunked/compressor.
 */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { padded, paxEntry, rawHeader, tarEnd, type RawHeader } from './raw-tar.js';
import { rawZstdFrame, skippableFrame } from './zstd-raw.js';

export interface TocFile {
  readonly name: string;
  readonly type?: 'reg' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';
  readonly content?: Uint8Array;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds. */
  readonly mtime?: number;
  /** Behind the second, for the PAX header alone: eStargz rounds. */
  readonly fraction?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  readonly xattrs?: Readonly<Record<string, Uint8Array>>;
}

export type TocJson = { version: number; entries: Record<string, unknown>[] } & Record<string, unknown>;

export interface TocLayerOptions {
  readonly chunkBytes?: number;
  /** eStargz: so many bytes of a member before the next one begins. */
  readonly minChunkBytes?: number;
  /** Change the table before it is written: its digest is that of what is written. */
  readonly edit?: (toc: TocJson) => void;
  /** Write this instead of the table. */
  readonly json?: (text: string) => string | Uint8Array;
  /** eStargz: change the footer. */
  readonly footer?: (tocOffset: number) => Uint8Array;
  /** eStargz: the table is not in the layer. */
  readonly external?: boolean;
  /** eStargz: name of the table in its archive. */
  readonly tocName?: string;
}

export interface TocLayer {
  readonly blob: Buffer;
  /** The archive that the blob decodes to. */
  readonly tar: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
  /** Where the table is. */
  readonly tocOffset: number;
  readonly tocLength: number;
  /** The packed table, when it is not in the layer. */
  readonly externalToc: Buffer | undefined;
}

const typeFlags = {
  reg: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
} as const;

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

function headerOf(file: TocFile): Buffer {
  const records: [string, string | Uint8Array][] = Object.entries(file.xattrs ?? {}).map(([name, value]) => [
    `SCHILY.xattr.${name}`,
    value,
  ]);
  if (file.fraction !== undefined) records.push(['mtime', `${file.mtime ?? 0}.${file.fraction}`]);
  if (Buffer.byteLength(file.name) > 100) records.push(['path', Buffer.from(file.name)]);
  const header: RawHeader = {
    name: Buffer.from(file.name).subarray(0, 100),
    type: typeFlags[file.type ?? 'reg'],
    mode: file.mode ?? 0o644,
    uid: file.uid ?? 0,
    gid: file.gid ?? 0,
    mtime: file.mtime ?? 0,
    linkName: Buffer.from(file.linkName ?? ''),
    devMajor: file.devMajor ?? 0,
    devMinor: file.devMinor ?? 0,
  };
  const main = rawHeader(header, file.content?.length ?? 0);
  return Buffer.from(records.length === 0 ? main : Buffer.concat([paxEntry(records), main]));
}

/** Go's JSON: zeros and empty values are left out. */
function lean(entry: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(entry).filter(([, value]) => value !== undefined && value !== 0 && value !== ''),
  );
}

function commonEntry(file: TocFile, time: string): Record<string, unknown> {
  const xattrs = Object.entries(file.xattrs ?? {}).map(([name, value]) => [
    name,
    Buffer.from(value).toString('base64'),
  ]);
  return {
    name: file.name,
    type: file.type ?? 'reg',
    size: file.content?.length ?? 0,
    modtime: time,
    linkName: file.linkName,
    mode: file.mode ?? 0o644,
    uid: file.uid,
    gid: file.gid,
    devMajor: file.devMajor,
    devMinor: file.devMinor,
    xattrs: xattrs.length === 0 ? undefined : Object.fromEntries(xattrs),
  };
}

/** Writes one compressed stream behind the other, and remembers what they decode to. */
class Members {
  readonly blob: Buffer[] = [];
  readonly tar: Buffer[] = [];
  private readonly pack: (bytes: Uint8Array) => Buffer;
  private open: Buffer[] = [];
  private openBytes = 0;
  length = 0;

  constructor(pack: (bytes: Uint8Array) => Buffer) {
    this.pack = pack;
  }

  write(bytes: Uint8Array): void {
    this.open.push(Buffer.from(bytes));
    this.openBytes += bytes.length;
    this.tar.push(Buffer.from(bytes));
  }

  /** Decoded bytes in the member under way. */
  get inner(): number {
    return this.openBytes;
  }

  close(): number {
    if (this.openBytes > 0) this.raw(this.pack(Buffer.concat(this.open)));
    this.open = [];
    this.openBytes = 0;
    return this.length;
  }

  raw(bytes: Uint8Array): void {
    this.blob.push(Buffer.from(bytes));
    this.length += bytes.length;
  }
}

function gzipFooter(extra: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(extra.length);
  return Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]),
    length,
    extra,
    Buffer.from([1, 0, 0, 0xff, 0xff]),
    Buffer.alloc(8),
  ]);
}

function subfield(text: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(text.length);
  return Buffer.concat([Buffer.from('SG'), length, Buffer.from(text)]);
}

const hex16 = (value: number): string => value.toString(16).padStart(16, '0');

/** 51 bytes. */
export const estargzFooter = (tocOffset: number): Buffer => gzipFooter(subfield(`${hex16(tocOffset)}STARGZ`));
/** 47 bytes: stargz before eStargz. */
export const legacyFooter = (tocOffset: number): Buffer =>
  gzipFooter(Buffer.from(`${hex16(tocOffset)}STARGZ`));
/** 46 bytes. */
export const externalFooter = (): Buffer => gzipFooter(subfield('STARGZEXTERNALTOC'));

const rfc3339 = (seconds: number): string =>
  seconds === 0 ? '' : new Date(seconds * 1000).toISOString().replace('.000', '');

function writeFiles(
  files: readonly TocFile[],
  members: Members,
  options: TocLayerOptions,
): TocJson['entries'] {
  const { chunkBytes = 4 << 20, minChunkBytes = 0 } = options;
  const entries: TocJson['entries'] = [];
  let memberStart = 0;
  for (const file of files) {
    members.write(headerOf(file));
    const entry = commonEntry(file, rfc3339(file.mtime ?? 0));
    const content = file.content ?? Buffer.alloc(0);
    if (content.length === 0) entries.push(lean(entry));
    for (let at = 0; at < content.length; at += chunkBytes) {
      const chunk = content.subarray(at, at + chunkBytes);
      const isShared = minChunkBytes > 0 && members.inner < minChunkBytes && memberStart > 0;
      if (!isShared) memberStart = members.close();
      entries.push(
        lean({
          ...(at === 0 ? { ...entry, digest: sha256(content) } : { name: file.name, type: 'chunk' }),
          offset: memberStart,
          innerOffset: isShared ? members.inner : 0,
          chunkOffset: at,
          chunkSize: content.length - at >= chunkBytes ? chunk.length : 0,
          chunkDigest: sha256(chunk),
        }),
      );
      members.write(chunk);
    }
    members.write(padded(content).subarray(content.length));
  }
  members.close();
  return entries;
}

function tocText(toc: TocJson, options: TocLayerOptions, indent: string): Buffer {
  options.edit?.(toc);
  const text = JSON.stringify(toc, undefined, indent);
  return Buffer.from(options.json?.(text) ?? text);
}

/** An eStargz layer. */
export function estargzLayer(files: readonly TocFile[], options: TocLayerOptions = {}): TocLayer {
  const members = new Members((bytes) => gzipSync(bytes, { level: 1 }));
  const toc: TocJson = { version: 1, entries: writeFiles(files, members, options) };
  const json = tocText(toc, options, '\t');
  const name = options.tocName ?? 'stargz.index.json';
  const archive = Buffer.concat([rawHeader({ name, mode: 0, mtime: 0 }, json.length), padded(json), tarEnd]);
  const tocOffset = members.length;
  const packed = gzipSync(archive, { level: 9 });
  if (options.external === true) members.write(tarEnd);
  if (options.external === true) members.close();
  else {
    members.raw(packed);
    members.tar.push(archive);
  }
  members.raw((options.footer ?? (options.external === true ? externalFooter : estargzFooter))(tocOffset));
  return {
    blob: Buffer.concat(members.blob),
    tar: Buffer.concat(members.tar),
    annotations: { 'containerd.io/snapshot/stargz/toc.digest': sha256(json) },
    tocOffset,
    tocLength: packed.length,
    externalToc: options.external === true ? packed : undefined,
  };
}

/** Chunks of zstd:chunked: each has its own digest when there are several, the file's when there is one. */
function writeChunked(files: readonly TocFile[], members: Members, chunkBytes: number): TocJson['entries'] {
  const entries: TocJson['entries'] = [];
  for (const file of files) {
    members.write(headerOf(file));
    const content = file.content ?? Buffer.alloc(0);
    const seconds = rfc3339(file.mtime ?? 0);
    const time = file.fraction === undefined ? seconds : seconds.replace('Z', `.${file.fraction}Z`);
    const entry = commonEntry(file, time);
    const chunks: { at: number; offset: number; bytes: Uint8Array }[] = [];
    for (let at = 0; at < content.length; at += chunkBytes) {
      const bytes = content.subarray(at, at + chunkBytes);
      chunks.push({ at, offset: members.close(), bytes });
      members.write(bytes);
    }
    const endOffset = content.length === 0 ? 0 : members.close();
    const isMany = chunks.length > 1;
    const [first] = chunks;
    const chunkFields = (chunk: (typeof chunks)[number]): Record<string, unknown> => ({
      offset: chunk.offset,
      ...(isMany
        ? {
            chunkSize: chunk.bytes.length,
            chunkOffset: chunk.at,
            chunkDigest: sha256(chunk.bytes),
            chunkType: chunk.bytes.every((byte) => byte === 0) ? 'zeros' : '',
          }
        : {}),
    });
    const digest = content.length === 0 ? '' : sha256(content);
    entries.push(lean({ ...entry, digest, endOffset, ...(first === undefined ? {} : chunkFields(first)) }));
    for (const chunk of chunks.slice(1))
      entries.push(lean({ type: 'chunk', name: file.name, ...chunkFields(chunk) }));
    members.write(padded(content).subarray(content.length));
  }
  members.write(tarEnd);
  members.close();
  return entries;
}

/** A zstd:chunked layer; frames are not compressed. */
export function zstdChunkedLayer(files: readonly TocFile[], options: TocLayerOptions = {}): TocLayer {
  const members = new Members(rawZstdFrame);
  const toc: TocJson = { version: 1, entries: writeChunked(files, members, options.chunkBytes ?? 256 << 10) };
  const json = tocText(toc, options, '');
  const packed = rawZstdFrame(json);
  const tocOffset = members.length + 8;
  members.raw(skippableFrame(packed));
  const footer = Buffer.alloc(64);
  [tocOffset, packed.length, json.length, 1].forEach((value, index) =>
    footer.writeBigUInt64LE(BigInt(value), index * 8),
  );
  footer.write('GNUlInUx', 56, 'latin1');
  members.raw(skippableFrame(footer));
  const prefix = 'io.github.containers.zstd-chunked';
  return {
    blob: Buffer.concat(members.blob),
    tar: Buffer.concat(members.tar),
    annotations: {
      [`${prefix}.manifest-position`]: `${tocOffset}:${packed.length}:${json.length}:1`,
      [`${prefix}.manifest-checksum`]: sha256(packed),
    },
    tocOffset,
    tocLength: packed.length,
    externalToc: undefined,
  };
}
