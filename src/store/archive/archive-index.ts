/**
 * What a pass over a compressed archive has found, kept for the next process: its members, and where decoding can start. A
 * line of JSON, then records of spans, small members as they are (what an archive is opened by), and windows
 * (src/store/archive/unpack-native.ts).
 */
import { mkdir, open, readdir, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex, digestOf } from '../../oci/digest.js';
import { replaceFile } from '../write-file.js';
import type { TarMember } from './scan-tar.js';
import type { UnpackedSpans, UnpackFormat } from './unpack-native.js';

/** An index that was found again. */
export interface ArchiveIndex {
  readonly path: string;
  readonly format: UnpackFormat;
  /** Of the tar, decompressed. */
  readonly size: number;
  readonly members: readonly TarMember[];
  readonly spans: Buffer;
  /** Members that need no decoding. */
  readonly small: readonly SmallMember[];
  /** Open on the file; windows begin at `windowsAt`. */
  readonly handle: FileHandle;
  readonly windowsAt: number;
}

interface Header {
  readonly key: string;
  readonly format: UnpackFormat;
  readonly size: number;
  readonly spanBytes: number;
  readonly members: readonly SavedMember[];
  /** Offset and length of the small ones. */
  readonly small: readonly (readonly [number, number])[];
}

/** Content of a member, and where it begins in the tar. */
export interface SmallMember {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** Manifests and configs: a zstd frame can only be decoded from its beginning, and is the whole archive mostly. */
const maxSmallBytes = 1024 * 1024;
const maxSmallTotal = 8 * 1024 * 1024;

/** Name, type, offset, size, target of a link, head as hex digits. */
type SavedMember = readonly [string, TarMember['type'], number, number, string, string | null];

/** 200,000 members of 200 bytes. */
const maxHeaderBytes = 64 * 1024 * 1024;

/** Archives are large and few; each index is a few MB. */
const maxIndexes = 32;

function indexPath(directory: string, key: string): string {
  return join(directory, 'archives', `${digestHex(digestOf(Buffer.from(key)))}.idx`);
}

/** The index under this key; undefined when there is none, or it is of no use. */
export async function findArchiveIndex(directory: string, key: string): Promise<ArchiveIndex | undefined> {
  const path = indexPath(directory, key);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const found = await readIndex(handle, path, key);
    if (found !== undefined) return found;
  } catch {
    // Damaged: made anew.
  }
  await handle.close();
  return undefined;
}

async function readIndex(handle: FileHandle, path: string, key: string): Promise<ArchiveIndex | undefined> {
  const start = await readAt(handle, 0, 16);
  const length = Number(start.toString('latin1').trim());
  if (!Number.isSafeInteger(length) || length <= 0 || length > maxHeaderBytes) return undefined;
  const header = JSON.parse((await readAt(handle, 16, length)).toString('utf8')) as Header;
  if (header.key !== key) return undefined;
  const spans = await readAt(handle, 16 + length, header.spanBytes);
  const members = header.members.map(([name, type, offset, size, linkname, head]) => ({
    name,
    type,
    offset,
    size,
    linkname,
    ...(head === null ? {} : { head: Buffer.from(head, 'hex') }),
  }));
  const small: SmallMember[] = [];
  let at = 16 + length + header.spanBytes;
  for (const [offset, bytes] of header.small) {
    small.push({ offset, bytes: await readAt(handle, at, bytes) });
    at += bytes;
  }
  return { path, format: header.format, size: header.size, members, spans, small, handle, windowsAt: at };
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  if (bytesRead !== length) throw new Error('the index is cut short');
  return buffer;
}

/** Keep an index. What cannot be kept is found again by another pass. */
export async function saveArchiveIndex(
  directory: string,
  key: string,
  found: UnpackedSpans & Pick<Header, 'format' | 'size'> & { readonly members: readonly TarMember[] },
  unpacked: FileHandle,
): Promise<void> {
  const path = indexPath(directory, key);
  const members = found.members.map((member): SavedMember => {
    const { name, type, offset, size, linkname, head } = member;
    return [name, type, offset, size, linkname, head?.toString('hex') ?? null];
  });
  const { format, size, spans, windows } = found;
  const small = await smallMembers(found.members, unpacked).catch(() => []);
  const header: Header = {
    key,
    format,
    size,
    spanBytes: spans.length,
    members,
    small: small.map(({ offset, bytes }) => [offset, bytes.length]),
  };
  const text = Buffer.from(JSON.stringify(header));
  if (text.length > maxHeaderBytes) return;
  const start = Buffer.from(String(text.length).padEnd(15) + '\n');
  try {
    await mkdir(join(directory, 'archives'), { recursive: true, mode: 0o700 });
    await replaceFile(path, Buffer.concat([start, text, spans, ...small.map(({ bytes }) => bytes), windows]));
    await forgetOldest(join(directory, 'archives'));
  } catch {
    // A full or read-only disk.
  }
}

async function smallMembers(
  members: readonly TarMember[],
  handle: FileHandle,
): Promise<readonly SmallMember[]> {
  const small: SmallMember[] = [];
  let total = 0;
  for (const { type, offset, size } of members) {
    if (type !== 'file' || size === 0 || size > maxSmallBytes || total + size > maxSmallTotal) continue;
    total += size;
    small.push({ offset, bytes: await readAt(handle, offset, size) });
  }
  return small;
}

async function forgetOldest(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.idx'));
  if (names.length <= maxIndexes) return;
  const paths = names.map((name) => join(folder, name));
  const aged = await Promise.all(paths.map(async (path) => ({ path, at: (await stat(path)).mtimeMs })));
  aged.sort((left, right) => left.at - right.at);
  for (const { path } of aged.slice(0, aged.length - maxIndexes)) await unlink(path);
}
