/**
 * What runs in a helper thread: hashing of files and listing of large folders, both of which would hold up the
 * JavaScript thread. File descriptors are shared by all threads of a process; bytes stay here.
 */
import { lstatSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import type { PackedEntries } from '../addon/folder-addon.js';
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
  | { readonly op: 'scan'; readonly scan: number; readonly folder: string }
  | { readonly op: 'part'; readonly scan: number; readonly from: number; readonly count: number }
  | { readonly op: 'forget'; readonly scan: number };

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

interface Listing {
  readonly names: string[];
  readonly bytes: Float64Array;
  readonly usedMs: Float64Array;
  /** Indexes, the entry used longest ago first. */
  readonly order: Uint32Array;
}

const listings = new Map<number, Listing>();

/** List a folder and keep the result. Entries that vanish meanwhile are left out. Returns how many there are. */
function scan(id: number, folder: string): number {
  let found: string[] = [];
  try {
    found = readdirSync(folder);
  } catch {
    // Not made yet, or deleted with the whole cache.
  }
  const names: string[] = [];
  const bytes = new Float64Array(found.length);
  const usedMs = new Float64Array(found.length);
  for (const name of found) {
    if (name.includes('\n')) continue;
    try {
      const sum = sumOf(join(folder, name));
      bytes[names.length] = sum.bytes;
      usedMs[names.length] = sum.usedMs;
      names.push(name);
    } catch {
      // Removed by another process.
    }
  }
  const order = Uint32Array.from(names, (_, index) => index).sort(
    (a, b) => (usedMs[a] ?? 0) - (usedMs[b] ?? 0),
  );
  listings.set(id, { names, bytes, usedMs, order });
  return names.length;
}

function partOf(listing: Listing | undefined, from: number, count: number): PackedEntries {
  const order = listing?.order.subarray(from, from + count) ?? new Uint32Array(0);
  return {
    names: Array.from(order, (index) => listing?.names[index] ?? '').join('\n'),
    bytes: Float64Array.from(order, (index) => listing?.bytes[index] ?? 0),
    usedMs: Float64Array.from(order, (index) => listing?.usedMs[index] ?? 0),
  };
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
      return scan(request.scan, request.folder);
    case 'part':
      return partOf(listings.get(request.scan), request.from, request.count);
    case 'forget':
      listings.delete(request.scan);
      return undefined;
  }
}

parentPort?.on('message', ({ id, request }: { id: number; request: HelperRequest }) => {
  try {
    parentPort?.postMessage({ id, value: answer(request) });
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    parentPort?.postMessage({ id, error: { message, code } });
  }
});
