/** The images of the cache by name, for verbs. */
import { ImageCache } from '../image/provider/image-cache.js';
import { parsePlatform } from '../oci/platform.js';
import type { Arguments } from './command.js';
import { openRuntime } from './runtime.js';
import { settingsFrom } from './settings.js';

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
