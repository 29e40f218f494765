/**
 * Facts about a file that cost a pass over it (digests), kept beside the cache for the next process. A fact is bound to
 * the identity of the file (device, inode, size, time of change); whoever can write here could write the cache too.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex, digestOf } from '../oci/digest.js';
import { replaceFile } from './write-file.js';

/** A fact is a few digests. */
const maxFactBytes = 1024 * 1024;

/**
 * What `compute` gives, or gave before under this key. `isFact` checks what was read. Without a directory nothing is
 * kept, and what cannot be kept is computed again.
 */
export async function remembered<Fact>(
  directory: string | undefined,
  key: string,
  isFact: (value: unknown) => value is Fact,
  compute: () => Promise<Fact>,
): Promise<Fact> {
  if (directory === undefined) return compute();
  const folder = join(directory, 'facts');
  const path = join(folder, `${digestHex(digestOf(Buffer.from(key)))}.json`);
  const kept = await readFact(path, key);
  if (isFact(kept)) return kept;
  const fact = await compute();
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await replaceFile(path, Buffer.from(JSON.stringify({ key, fact })));
  } catch {
    // A full or read-only disk: the fact is computed again.
  }
  return fact;
}

async function readFact(path: string, key: string): Promise<unknown> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > maxFactBytes) return undefined;
    const value = JSON.parse(bytes.toString('utf8')) as { key?: unknown; fact?: unknown };
    return value.key === key ? value.fact : undefined;
  } catch {
    return undefined;
  }
}
