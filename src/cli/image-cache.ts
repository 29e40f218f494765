/** The images of the cache by name, for verbs. */
import { ImageCache } from '../image/provider/image-cache.js';
import { parsePlatform } from '../oci/platform.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import { formatReference } from '../oci/reference.js';
import { parseLocation } from '../store/location.js';
import type { Arguments } from './command.js';
import { openRuntime } from './runtime.js';
import { settingsFrom } from './settings.js';

/**
 * The name of an image in a registry, in whatever way it is written; undefined for images of other stores.
 * @throws ImgfsError `usage`, `name-invalid`.
 */
export function registryName(text: string): string | undefined {
  const location = parseLocation(text);
  return location.transport === 'docker' ? formatReference(location.reference) : undefined;
}

/** The same, where nothing else will do. @throws ImgfsError `usage`. */
export function assertRegistryName(text: string): string {
  const name = registryName(text);
  if (name !== undefined) return name;
  throw new ImgfsError('usage', `${JSON.stringify(text)}: images of the cache have names of registries`, {
    hint: 'imgfs cache load takes images of archives, imgfs cache pin those of any store',
  });
}

/** Run `work` on the image cache; registries are opened when they are asked. */
export async function withImageCache(
  args: Arguments,
  work: (cache: ImageCache) => Promise<void>,
): Promise<void> {
  const settings = settingsFrom(args);
  const runtime = await openRuntime(settings, []);
  try {
    const cache = new ImageCache({
      cache: runtime.content,
      openRegistry: (host) => runtime.stores.registry(host),
      ...(settings.platform === undefined ? {} : { platform: parsePlatform(settings.platform) }),
    });
    await work(cache);
  } finally {
    await runtime.close();
  }
}
