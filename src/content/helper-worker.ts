/**
 * What runs in a helper thread: hashing of files and listing of large folders, both of which would hold up the
 * JavaScript thread. File descriptors are shared by all threads of a process; bytes stay here.
 */
import { lstatSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { createDigester, type DigestAlgorithm, type Digester } from '../oci/digest.js';

export type HelperRequest =
  | {
      readonly op: 'hash';
      readonly stream: number;
      readonly algorithm: DigestAlgorithm;
      readonly fd: number;
      readonly start: number;
      readonly end: number;
    }
  | {
      readonly op: 'feed';
      readonly stream: number;
      readonly algorithm: DigestAlgorithm;
      readonly bytes: Uint8Array;
    }
  | { readonly op: 'finish'; readonly stream: number; readonly algorithm: DigestAlgorithm }
  | { readonly op: 'drop'; readonly stream: number }
  | { readonly op: 'scan'; readonly folder: string };

/** One entry of a cache folder: a file, or a folder with its files summed up. */
export interface ScannedEntry {
  readonly name: string;
  /** Bytes on disk: 512 × st_blocks. */
  readonly bytes: number;
  /** Last use: the later of access and modification time, in milliseconds since the epoch. */
  readonly usedMs: number;
}

const streams = new Map<number, Digester>();
/** Large enough that a system call is 1 % of hashing it (0.6 ms at 1.6 GB/s), small enough for the L2 cache. */
const buffer = Buffer.allocUnsafe(1 << 20);

function streamOf(stream: number, algorithm: DigestAlgorithm): Digester {
  let digester = streams.get(stream);
  if (digester === undefined) {
    digester = createDigester(algorithm);
    streams.set(stream, digester);
  }
  return digester;
}

/** Returns the offset reached: short of `end` when the file ends before. */
function hashFile(digester: Digester, fd: number, start: number, end: number): number {
  let position = start;
  while (position < end) {
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, end - position), position);
    if (count === 0) break;
    digester.update(buffer.subarray(0, count));
    position += count;
  }
  return position;
}

interface Sum {
  bytes: number;
  usedMs: number;
}

function sumOf(path: string): Sum {
  const stat = lstatSync(path);
  const sum: Sum = { bytes: stat.blocks * 512, usedMs: Math.max(stat.atimeMs, stat.mtimeMs) };
  if (!stat.isDirectory()) return sum;
  // Reading a folder touches its access time; only the files say when it was used.
  sum.usedMs = 0;
  for (const name of readdirSync(path)) {
    const child = lstatSync(join(path, name));
    sum.bytes += child.blocks * 512;
    sum.usedMs = Math.max(sum.usedMs, child.mtimeMs);
  }
  return sum;
}

/** Entries of a folder, the one used longest ago first. Entries that vanish meanwhile are left out. */
function scan(folder: string): ScannedEntry[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  const entries: ScannedEntry[] = [];
  for (const name of names) {
    try {
      entries.push({ name, ...sumOf(join(folder, name)) });
    } catch {
      // Removed by another process.
    }
  }
  return entries.sort((a, b) => a.usedMs - b.usedMs);
}

function answer(request: HelperRequest): unknown {
  switch (request.op) {
    case 'hash':
      return hashFile(streamOf(request.stream, request.algorithm), request.fd, request.start, request.end);
    case 'feed':
      streamOf(request.stream, request.algorithm).update(request.bytes);
      return undefined;
    case 'finish': {
      const digester = streamOf(request.stream, request.algorithm);
      streams.delete(request.stream);
      return digester.digest();
    }
    case 'drop':
      streams.delete(request.stream);
      return undefined;
    case 'scan':
      return scan(request.folder);
  }
}

parentPort?.on('message', ({ id, request }: { id: number; request: HelperRequest }) => {
  try {
    const value = answer(request);
    // A long listing goes in pieces: taking one message of 100,000 entries apart would hold up the receiver.
    if (Array.isArray(value)) {
      for (let at = 0; at < value.length; at += 2000) {
        parentPort?.postMessage({ id, part: value.slice(at, at + 2000) });
      }
      parentPort?.postMessage({ id, value: undefined });
    } else parentPort?.postMessage({ id, value });
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    parentPort?.postMessage({ id, error: { message, code } });
  }
});
