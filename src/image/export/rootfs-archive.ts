/** The root file system of an image as one archive: all layers merged, whiteouts applied. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { FlatTar } from '../../layer/flatten/flat-tar.js';
import type { Layer } from '../../layer/layer.js';
import type { LayerStore } from '../../layer/layer-store.js';
import { mergeLayers } from '../../layer/merge/merge-layers.js';
import type { CallOptions } from '../../store/store.js';
import type { Image } from '../image.js';
import type { ExportedArchive } from './exported-archive.js';

/** A planned archive over open layers, which `close` gives back. */
export function rootfsArchive(
  plan: FlatTar,
  layers: readonly Layer[],
  close: () => Promise<void>,
): ExportedArchive {
  return {
    size: plan.size,
    read: (buffer, position, options) =>
      plan.read(
        buffer,
        position,
        ({ layer, row }, part, offset, call) =>
          layers[layer]?.readEntry(row, part, offset, call) ?? Promise.resolve(0),
        options,
      ),
    close,
  };
}

/**
 * Open an image's layers, merge them and lay the archive out. Layers never seen are gone through once.
 * @throws ImgfsError `unsupported` for artifacts; as `Layer.whenReady`.
 */
export async function openRootfsArchive(
  image: Image,
  store: LayerStore,
  options: CallOptions = {},
): Promise<ExportedArchive> {
  const { manifest } = await image.chosen(options);
  if (manifest.kind !== 'image')
    throw new ImgfsError('unsupported', `export ${image.reference}: an artifact has no root file system`);
  const layers: Layer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(layers.splice(0).map((layer) => layer.close()));
  };
  try {
    for (const layer of manifest.layers) layers.push(await store.openLayer(image.source(layer), options));
    const plan = await FlatTar.plan(await mergeLayers(layers, options), options);
    return rootfsArchive(plan, [...layers], close);
  } catch (error) {
    await close();
    throw error;
  }
}
