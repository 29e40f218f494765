/** Root file systems of images, for verbs that work on indexes alone. */
import type { Image } from '../image/image.js';
import { LayerSources } from '../image/layer-sources.js';
import type { LayerSource } from '../layer/layer-source.js';
import { OpenTrees, type LoadedTree } from '../vfs/inside/open-trees.js';
import type { Arguments, CommandContext } from './command.js';
import { openLayers, withImages } from './runtime.js';

/** Where the layers of an image come from, the lowest first. */
export async function imageLayers(image: Image, signal: AbortSignal): Promise<readonly LayerSource[]> {
  return new LayerSources().all(image, await image.chosen({ signal }));
}

/** Run `work` on the trees of images; layers without an index are gone through first. */
export async function withImageTrees(
  references: readonly string[],
  args: Arguments,
  context: CommandContext,
  work: (trees: readonly LoadedTree[], images: readonly Image[]) => Promise<void>,
): Promise<void> {
  const { signal } = context;
  await withImages(references, args, context, async (images, runtime) => {
    const trees = new OpenTrees(await openLayers(runtime));
    try {
      const loaded = images.map(async (image) => {
        const sources = await imageLayers(image, signal);
        return trees.load({ key: `merged ${image.descriptor.digest}`, sources, alone: false }, { signal });
      });
      await work(await Promise.all(loaded), images);
    } finally {
      await trees.close();
    }
  });
}
