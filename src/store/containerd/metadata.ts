/**
 * Image names out of containerd's metadata database (containerd metadata/buckets.go), read while containerd runs.
 *
 * A lock would be refused, so none is taken. bbolt never writes over pages of the latest transaction but after the
 * next two; the file is copied to memory, and what was copied counts when no transaction ended meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDigest } from '../../oci/digest.js';
import { readExactly } from '../archive/archive-contents.js';
import { openRegularFile } from '../safe-open.js';
import type { CallOptions } from '../store.js';
import { latestMeta, metaWindowBytes, openBolt, readVarint, type BoltBucket } from './bolt.js';

/** 100,000 images and their content are about 100 MB. */
const maxDatabaseBytes = 512 * 1024 * 1024;

/** Copying takes 1 ms for each MB; a busy engine writes a few times in a second. */
const maxAttempts = 20;
const pauseMs = 25;

export interface NamedTarget {
  readonly name: string;
  readonly target: Descriptor;
}

/**
 * A copy of the database in which one transaction is the last.
 * @throws ImgfsError `not-found`, `denied`, `too-large`, `invalid-content`, `busy` when it is written without a pause.
 */
export async function copyDatabase(path: string, options: CallOptions = {}): Promise<Buffer> {
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    if (options.signal?.aborted === true) throw new ImgfsError('interrupted', `read ${path}: given up`);
    const copy = await copyOnce(path);
    if (copy !== undefined) return copy;
    await sleep(pauseMs);
  }
  throw new ImgfsError('busy', `read ${path}: it was written to whenever it was read`, {
    path,
    hint: 'try again when containerd has less to do',
  });
}

/** Undefined when a transaction ended while it was copied. */
async function copyOnce(path: string): Promise<Buffer | undefined> {
  const { handle, size } = await openRegularFile(path, {
    operation: 'open metadata',
    within: [],
    missing: 'not-found',
  });
  try {
    if (size > maxDatabaseBytes) {
      throw new ImgfsError('too-large', `read ${path}: ${size} bytes, the limit is ${maxDatabaseBytes}`, {
        path,
      });
    }
    const file = { path, handle };
    const before = Buffer.alloc(Math.min(size, metaWindowBytes));
    await readExactly(file, before, 0, before.length);
    const copy = Buffer.allocUnsafeSlow(size);
    await readExactly(file, copy, 0, size);
    const after = Buffer.alloc(before.length);
    await readExactly(file, after, 0, after.length);
    const txids = [before, copy, after].map((bytes) => latestMeta(bytes, path).txid);
    return txids.every((txid) => txid === txids[0]) ? copy : undefined;
  } finally {
    await handle.close();
  }
}

/** The namespaces that have images, with them, in the order of the database. @throws ImgfsError `invalid-content`. */
export function readNamespaces(database: Buffer, path: string): ReadonlyMap<string, readonly NamedTarget[]> {
  const found = new Map<string, readonly NamedTarget[]>();
  const root = openBolt(database, path).bucket('v1');
  for (const [namespace, bucket] of root?.buckets() ?? []) {
    const images = [...(bucket.bucket('images')?.buckets() ?? [])].flatMap(([name, image]) => {
      const target = readTarget(image.bucket('target'));
      return target === undefined ? [] : [{ name: name.toString('utf8'), target }];
    });
    if (images.length > 0) found.set(namespace.toString('utf8'), images);
  }
  return found;
}

function readTarget(bucket: BoltBucket | undefined): Descriptor | undefined {
  const digest = bucket?.value('digest')?.toString('latin1');
  const mediaType = bucket?.value('mediatype')?.toString('latin1');
  const size = readVarint(bucket?.value('size') ?? new Uint8Array(0));
  if (!isDigest(digest) || mediaType === undefined || size === undefined) return undefined;
  return { mediaType, digest, size };
}
