/** Where the layers of images come from, and the indexes that the images bring for them. */
import { LRUCache } from 'lru-cache';
import type { BlobSource } from '../content/content.js';
import { isImgfsError } from '../errors/imgfs-error.js';
import type { LayerSource } from '../layer/layer-source.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isTag } from '../oci/reference.js';
import type { CallOptions } from '../store/store.js';
import type { ChosenManifest, Image } from './image.js';
import { SociIndexes } from './soci-indexes.js';

/** In the layers of an image of tables of contents: the layer that the table is of (estargz.md, "TOC image"). */
const tocLayerKey = 'containerd.io/snapshot/stargz/layer.digest';
/** Indexes of so many images are remembered, 200 bytes a layer. */
const maxRemembered = 100;

export class LayerSources {
  readonly #indexes = new LRUCache<string, SociIndexes>({ max: maxRemembered });

  /** The layers of an image, the lowest first; for an artifact its blobs. */
  all(image: Image, chosen: ChosenManifest): readonly LayerSource[] {
    const { manifest } = chosen;
    const layers = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    return layers.map((layer) => this.of(image, chosen, layer));
  }

  /** One layer of it. Costs no request. */
  of(image: Image, chosen: ChosenManifest, layer: Descriptor): LayerSource {
    return {
      ...image.source(layer),
      soci: this.#sociOf(image, chosen),
      externalToc: (options) => findToc(image, layer, options),
    };
  }

  #sociOf(image: Image, chosen: ChosenManifest): SociIndexes {
    const indexes = new SociIndexes(image, chosen);
    const key = `${image.store.id} ${image.repository} ${indexes.key}`;
    const known = this.#indexes.get(key);
    if (known !== undefined) return known;
    this.#indexes.set(key, indexes);
    return indexes;
  }
}

/**
 * The packed table of contents in the image beside this one: `<tag>-esgztoc`. Its digest is checked by who uses it.
 * @throws what the store throws, but for `not-found`.
 */
async function findToc(
  image: Image,
  layer: Descriptor,
  options: CallOptions = {},
): Promise<BlobSource | undefined> {
  const { store, repository } = image;
  const tag = `${image.tag ?? image.parent?.tag ?? ''}-esgztoc`;
  if (!isTag(tag)) return undefined;
  try {
    const { descriptor } = await store.resolve({ repository, tag }, options);
    const { manifest } = await image.sibling(descriptor).chosen(options);
    const tables = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    const found = tables.find(({ annotations }) => annotations?.[tocLayerKey] === layer.digest);
    return found === undefined ? undefined : image.source(found);
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return undefined;
    throw error;
  }
}
