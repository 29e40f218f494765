/** A cache in a directory of its own, both gone when the test ends. */
import type { TestContext } from 'node:test';
import { openContentCache, type DiskCache, type DiskCacheOptions } from '../../../src/content/disk.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

export async function cacheIn(t: TestContext, options: Partial<DiskCacheOptions> = {}): Promise<DiskCache> {
  const directory = options.directory ?? (await makeTempDir('cache'));
  const cache = await openContentCache({ ...options, directory });
  t.after(async () => {
    await cache.close();
    if (options.directory === undefined) await removeTempDir(directory);
  });
  return cache;
}

/** Run with a cache on a directory, and close it again. */
export async function withCache<T>(
  options: DiskCacheOptions,
  work: (cache: DiskCache) => Promise<T>,
): Promise<T> {
  const cache = await openContentCache(options);
  try {
    return await work(cache);
  } finally {
    await cache.close();
  }
}
