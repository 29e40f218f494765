/** Flips bits in what a cache keeps. */
import { chmod, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Prng } from '../support/prng.js';

async function filesBelow(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Files of a cache by the folder that they are in. */
function byKind(cache: string, paths: readonly string[]): Map<string, string[]> {
  const kinds = new Map<string, string[]>();
  for (const path of paths) {
    const [kind = ''] = relative(cache, path).split('/');
    kinds.set(kind, [...(kinds.get(kind) ?? []), path]);
  }
  return kinds;
}

/** Flip one to three bits, or cut the file. */
async function damage(path: string, prng: Prng): Promise<void> {
  const bytes = await readFile(path);
  if (bytes.length === 0) return;
  const times = 1 + prng.integer(3);
  for (let time = 0; time < times; time += 1) {
    const at = prng.integer(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << prng.integer(8));
  }
  // Whole blobs are read-only, which stops everybody but root.
  await chmod(path, 0o600);
  await writeFile(path, prng.integer(10) === 0 ? bytes.subarray(0, prng.integer(bytes.length)) : bytes);
}

/** Kinds of what is kept, and for each what is no longer in the cache, so that it is needed. */
const victims: Readonly<Record<string, readonly (readonly string[])[]>> = {
  decoded: [[], ['blobs', 'partial'], ['index']],
  index: [[], ['decoded'], ['decoded', 'partial', 'blobs']],
  blobs: [['decoded'], ['decoded', 'index'], ['index']],
  partial: [['decoded'], ['decoded', 'index'], ['index']],
  refs: [[], ['decoded', 'partial', 'blobs', 'index']],
};
/** Kinds that hold what trees are made of. */
const hot = ['decoded', 'index', 'blobs', 'partial'];

/**
 * Choose a file of the cache, of those that are `ours`, take away what would stand in for it, and damage it. Returns its
 * path in the cache; undefined when there is none.
 */
export async function damageCache(
  cache: string,
  prng: Prng,
  ours?: (path: string) => boolean,
): Promise<string | undefined> {
  const all = (await filesBelow(cache)).filter((path) => ours?.(relative(cache, path)) !== false);
  if (all.length === 0) return undefined;
  const kinds = byKind(cache, all);
  const names = [...kinds.keys()].toSorted();
  // One in ten is a file beside these, or whatever else lies there.
  const warm = names.filter((name) => hot.includes(name));
  const kind = prng.pick(prng.integer(10) === 0 ? names : warm);
  const path = prng.pick((kinds.get(kind) ?? []).toSorted());
  for (const folder of prng.pick(victims[kind] ?? [[]])) {
    const standIns = all.filter((one) => one.startsWith(join(cache, folder, '/')));
    if (ours === undefined) await rm(join(cache, folder), { recursive: true, force: true });
    else for (const one of standIns) await rm(one, { force: true });
  }
  await damage(path, prng);
  return relative(cache, path);
}
