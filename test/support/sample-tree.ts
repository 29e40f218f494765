/**
 * The tree that driver tests mount: one node for each thing that a driver can get wrong. `IMGFS_TEST_SOURCE` adds the
 * file `fetched`: it is made while it is read, out of the file of that path.
 */
import { mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { ByteRange } from '../../src/store/store.js';
import { nameFromText } from '../../src/vfs/name.js';
import { WritableMemoryFileSystem } from './writable-memory-file-system.js';

export const bigBytes = 8 * 1024 * 1024 + 123;
export const sparseBytes = 16 * 1024 * 1024 + 777;
export const sparseBase = 1_000_000;
export const manyEntries = 100_000;

/** Word number `index` of the pattern: differs between neighbouring blocks of any size. */
function patternWord(index: number): number {
  const mixed = Math.imul(index ^ (index >>> 15), 0x2c1b3c6d);
  return Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
}

/** Bytes [start, end) of an endless pattern. */
export function pattern(start: number, end: number): Buffer {
  const first = Math.floor(start / 4);
  const words = new Int32Array(Math.ceil(end / 4) - first);
  for (let i = 0; i < words.length; i += 1) words[i] = patternWord(first + i);
  return Buffer.from(words.buffer, start - first * 4, end - start);
}

/** What the file `joined` says. */
export function joinedContent(): Buffer {
  const [header, content] = [pattern(0, 512), pattern(7, 300_007)];
  const small = Array.from({ length: 50 }, (_, at) => pattern(at * 1001, at * 1001 + 1000));
  return Buffer.concat([header, pattern(4096, 3_004_096), content, header, ...small, content]);
}

async function patternOf(range: ByteRange): Promise<Uint8Array> {
  await sleep(1);
  return pattern(range.start, range.end);
}

/** The file `fetched`: the bytes of `source`, kept in a sparse file as they are asked for. */
function addFetched(fileSystem: WritableMemoryFileSystem, scratch: string, source: string): void {
  const { size } = statSync(source);
  const kept = join(scratch, 'fetched');
  writeFileSync(kept, '');
  truncateSync(kept, size);
  fileSystem.addSparse(fileSystem.root, 'fetched', kept, size, async ({ start, end }) => {
    const file = await open(source);
    try {
      const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
      return buffer;
    } finally {
      await file.close();
    }
  });
}

export function sampleTree(scratch: string): WritableMemoryFileSystem {
  mkdirSync(scratch, { recursive: true });
  const fileSystem = new WritableMemoryFileSystem({ negativeTtlMs: 0 });
  const { root } = fileSystem;
  const big = join(scratch, 'big');
  writeFileSync(big, pattern(0, bigBytes));
  const sparse = join(scratch, 'sparse');
  writeFileSync(sparse, '');
  truncateSync(sparse, sparseBase + sparseBytes);

  fileSystem
    .addFile(root, 'hello', 'hello world\n')
    .xattrs.set(nameFromText('user.oci.digest'), Buffer.from('sha256:1'));
  fileSystem.addFile(root, 'empty', '');
  fileSystem.addFile(root, 'plain', pattern(0, 300_000));
  fileSystem.addFile(root, 'bytes-\u00ff', 'latin');
  const tag = fileSystem.addFile(root, 'tag', 'old');
  tag.keepCache = false;
  const made = fileSystem.addFile(root, 'made', 'made anew');
  made.directIo = true;
  made.size = 0;
  fileSystem.addLink(root, 'link', 'hello');
  fileSystem.addBacked(root, 'big', big, bigBytes);
  // A part of a file on disk, as an entry of a decoded layer is.
  fileSystem.addBacked(root, 'part', big, 100_000, 4096);
  fileSystem.addSparse(root, 'sparse', sparse, sparseBytes, patternOf, sparseBase);
  // As an archive is: headers, files on disk, and in the middle something that only JavaScript has.
  const [header, content] = [pattern(0, 512), pattern(7, 300_007)];
  const joined = fileSystem.addFile(root, 'joined', joinedContent());
  joined.segments = [
    { size: 512, bytes: header },
    { size: 3_000_000, path: big, offset: 4096 },
    { size: 300_000 },
    { size: 512, bytes: header },
    ...Array.from({ length: 50 }, (_, at) => ({ size: 1000, path: big, offset: at * 1001 })),
    { size: content.length, bytes: content },
  ];

  fileSystem.addDirectory(root, 'work');

  const slow = fileSystem.addFile(root, 'slow', 'slow content');
  slow.delayMs = 60_000;
  const slowDirectory = fileSystem.addDirectory(root, 'slow-dir');
  fileSystem.addFile(slowDirectory, 'file', 'x').delayMs = 60_000;
  const stuck = join(scratch, 'stuck');
  writeFileSync(stuck, '');
  truncateSync(stuck, 1_000_000);
  fileSystem.addSparse(root, 'stuck', stuck, 1_000_000, async (_range, signal) => {
    await sleep(60_000, undefined, { signal });
    return Buffer.alloc(0);
  });
  const full = join(scratch, 'full');
  writeFileSync(full, '');
  truncateSync(full, 1_000_000);
  const fullFile = fileSystem.addSparse(root, 'cache-full', full, 1_000_000, () =>
    Promise.reject(new ImgfsError('cache-full', 'the cache disk is full')),
  );
  fullFile.content = pattern(0, 1_000_000);
  const broken = join(scratch, 'broken');
  writeFileSync(broken, '');
  truncateSync(broken, 1_000_000);
  fileSystem.addSparse(root, 'broken', broken, 1_000_000, () =>
    Promise.reject(new ImgfsError('integrity', 'the digest does not match')),
  );

  const throwing = fileSystem.addDirectory(root, 'throws');
  fileSystem.addFile(throwing, 'type-error', '').failure = new TypeError('a defect');
  fileSystem.addFile(throwing, 'denied', '').failure = new ImgfsError('denied', 'refused by the registry');
  fileSystem.addFile(throwing, 'late', '').failure = new ImgfsError('timeout', 'no answer');

  const source = process.env['IMGFS_TEST_SOURCE'];
  if (source !== undefined) addFetched(fileSystem, scratch, source);

  const many = fileSystem.addDirectory(root, 'many');
  many.complete = true;
  for (let i = 0; i < manyEntries; i += 1) fileSystem.addFile(many, `file-${i}`, '');
  const fixed = fileSystem.addDirectory(root, 'fixed');
  fixed.complete = true;
  for (let i = 0; i < 50; i += 1) fileSystem.addFile(fixed, `f${i}`, `content ${i}`);
  fileSystem.addLink(fixed, 'link', 'f1');
  const deep = fileSystem.addDirectory(fixed, 'deep');
  deep.complete = true;
  fileSystem.addFile(deep, 'x', 'deep x');
  return fileSystem;
}
