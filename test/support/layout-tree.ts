/** One tree of ours over a layout on disk, without a mount. */
import { join } from 'node:path';
import { openContentCache } from '../../src/content/disk.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import type { FileSystem } from '../../src/vfs/file-system.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import { walk, type Walker } from './file-system-walker.js';

/** The layout stands at `local/`; the cache is made in `scratch`. */
export async function withLayoutTree(
  scratch: string,
  layout: string,
  work: (fileSystem: FileSystem, walker: Walker) => Promise<void>,
): Promise<void> {
  const content = await openContentCache({ directory: join(scratch, 'cache'), maxBytes: 2 ** 33 });
  const stores = createStoreDirectory({
    openRegistry: () => Promise.reject(new Error('no registry here')),
    locals: new Map([['local', async () => openLayoutStore(layout)]]),
  });
  const layers = new LayerStore({ cache: content });
  const fileSystem = createFileSystem({
    stores,
    content,
    extensions: [new ImageInside({ layers, content })],
  });
  try {
    await work(fileSystem, walk(fileSystem, 120_000));
  } finally {
    await fileSystem.close();
    await stores.close();
    await content.close();
  }
}

/** Layouts that the user wants compared: `IMGFS_TEST_LAYOUTS="/layout:tag /zstd:tag=/gzip:tag"`. */
export function layoutsToCompare(): { readonly ours: LayoutTag; readonly theirs: LayoutTag }[] {
  const texts = (process.env['IMGFS_TEST_LAYOUTS'] ?? '').split(' ').filter(Boolean);
  return texts.map((text) => {
    const [ours = '', theirs = ours] = text.split('=');
    return { ours: layoutTag(ours), theirs: layoutTag(theirs) };
  });
}

export interface LayoutTag {
  readonly layout: string;
  readonly tag: string;
}

function layoutTag(text: string): LayoutTag {
  const colon = text.lastIndexOf(':');
  return { layout: text.slice(0, colon), tag: text.slice(colon + 1) };
}
