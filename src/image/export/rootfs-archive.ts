/** The root file system of an image as one archive: all layers merged, whiteouts applied. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { FlatTar, type PlaceOf } from '../../layer/flatten/flat-tar.js';
import type { Layer } from '../../layer/layer.js';
import type { LayerStore } from '../../layer/layer-store.js';
import { mergeLayers } from '../../layer/merge/merge-layers.js';
import type { EntryOf } from '../../layer/merge/merged-tree.js';
import type { CallOptions } from '../../store/store.js';
import type { Image } from '../image.js';
import type { ExportedArchive } from './exported-archive.js';

/** A planned archive over open layers, which `close` gives back. */
export function rootfsArchive(
  plan: FlatTar,
  layers: readonly Layer[],
  close: () => Promise<void>,
): ExportedArchive {
  const placeOf = decodedPlaces(layers);
  return {
    size: plan.size,
    cover: async (range, take) => {
      const segments = plan.segments(range, placeOf);
      if (segments !== undefined) take(segments);
    },
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

/** Where entries lie in decoded layers. What was told stays there until the layers are closed. */
function decodedPlaces(layers: readonly Layer[]): PlaceOf {
  const held = new Set<Layer>();
  return ({ layer: position, row }: EntryOf, size: number) => {
    const layer = layers[position];
    const backing = layer?.backing();
    // Files with holes lie in pieces.
    if (layer === undefined || backing === undefined || layer.table.sparse(row) !== undefined)
      return undefined;
    if (!held.has(layer)) backing.hold({ start: 0, end: layer.decodedSize ?? Number.MAX_SAFE_INTEGER });
    held.add(layer);
    const start = layer.table.dataOffset(row);
    const isPresent = backing
      .present({ start, end: start + size })
      .some((range) => range.start <= start && range.end >= start + size);
    return isPresent ? { fd: backing.fd, offset: start } : undefined;
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
