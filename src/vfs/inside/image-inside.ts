/** Adds the inside of images to image directories: `rootfs/`, and in `layers/` the tree and the archive of each. */
import type { ContentCache } from '../../content/content.js';
import { isImageConfig, type ChosenManifest, type Image } from '../../image/image.js';
import { LayerSources } from '../../image/layer-sources.js';
import type { LayerStore } from '../../layer/layer-store.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isTreeLayer, layerSuffix } from '../../oci/media-type.js';
import type { CallOptions } from '../../store/store.js';
import { defaultLifetimes } from '../lifetimes.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { Found, ListedChild } from '../node.js';
import { found, listed, toNs } from '../nodes/answers.js';
import type { ImageExtension, ImagePlace } from '../tree-context.js';
import { DecodedLayerFile } from './decoded-layer-file.js';
import { OpenTrees } from './open-trees.js';
import { defaultPresentation, type Presentation } from './presentation.js';
import { isArchive, isEncrypted } from './refuse-unreadable.js';
import { TreeRootDirectory } from './root-directory.js';
import { TreeView, type ViewParts } from './tree-view.js';

export interface ImageInsideOptions {
  /** Closed with the file system. */
  readonly layers: LayerStore;
  readonly content: ContentCache;
  readonly presentation?: Partial<Presentation>;
  /** Time of what has none, in milliseconds since the epoch. Default: now. */
  readonly mountTimeMs?: number;
}

const rootfsName = 'rootfs';

export class ImageInside implements ImageExtension {
  readonly #trees: OpenTrees;
  readonly #parts: ViewParts;
  readonly #mountTimeMs: number;
  readonly #sources = new LayerSources();

  constructor(options: ImageInsideOptions) {
    this.#trees = new OpenTrees(options.layers);
    this.#parts = {
      trees: this.#trees,
      content: options.content,
      presentation: { ...defaultPresentation, ...options.presentation },
      lifetimes: defaultLifetimes,
    };
    this.#mountTimeMs = options.mountTimeMs ?? Date.now();
  }

  owns(place: ImagePlace, name: string): boolean {
    return place === 'image' && name === rootfsName;
  }

  async list(place: ImagePlace, image: Image, options: CallOptions): Promise<readonly ListedChild[]> {
    if (place === 'layers') return this.#listLayers(image, await image.chosen(options));
    const chosen = image.peekChosen();
    // Which manifest of an index is the image's costs a request that `ls` has no need of.
    if (chosen === undefined) return [{ name: nameFromText(rootfsName), type: 'directory' }];
    return hasRootfs(chosen) ? listed(rootfsName, this.#rootfs(image, chosen)) : [];
  }

  async lookup(
    place: ImagePlace,
    image: Image,
    name: Name,
    options: CallOptions,
  ): Promise<Found | undefined> {
    const text = nameToText(name);
    if (place === 'layers') return this.#layer(image, await image.chosen(options), text);
    if (text !== rootfsName) return undefined;
    const chosen = await image.chosen(options);
    return hasRootfs(chosen) ? this.#rootfs(image, chosen) : undefined;
  }

  async close(): Promise<void> {
    await this.#trees.close();
  }

  /** The merged tree of an image, for whoever shows it in another form; undefined for artifacts. */
  async rootfsView(image: Image, options: CallOptions): Promise<TreeView | undefined> {
    const chosen = await image.chosen(options);
    return hasRootfs(chosen) ? this.#merged(image, chosen) : undefined;
  }

  #merged(image: Image, chosen: ChosenManifest): TreeView {
    return new TreeView(this.#parts, {
      key: `merged ${chosen.descriptor.digest}`,
      sources: this.#sources.all(image, chosen),
      alone: false,
    });
  }

  #rootfs(image: Image, chosen: ChosenManifest): Found {
    const view = this.#merged(image, chosen);
    return found(new TreeRootDirectory(view, this.#mtimeNs(image)), view.immutableMs);
  }

  async #listLayers(image: Image, chosen: ChosenManifest): Promise<readonly ListedChild[]> {
    const children: ListedChild[] = [];
    for (const [index, layer] of layersOf(chosen).entries()) {
      if (!isArchive(layer)) continue;
      const view = this.#alone(image, chosen, layer, index);
      children.push(...listed(String(index), this.#tree(image, view)));
      if (!hasArchive(layer)) continue;
      const archive = { name: nameFromText(`${index}.tar`), type: 'file' as const };
      if (view.peek()?.layers[0]?.decodedSize !== undefined)
        children.push({ ...archive, found: this.#archive(image, view) });
      else if ((await this.#trees.layers.peek(layer.digest)) !== undefined) children.push(archive);
    }
    return children;
  }

  #layer(image: Image, chosen: ChosenManifest, text: string): Found | undefined {
    const match = /^(0|[1-9][0-9]{0,5})(\.tar)?$/.exec(text);
    if (match === null) return undefined;
    const index = Number(match[1]);
    const layer = layersOf(chosen)[index];
    // An encrypted layer is there, and says why it cannot be read.
    if (layer === undefined || (!isArchive(layer) && !isEncrypted(layer))) return undefined;
    const view = this.#alone(image, chosen, layer, index);
    if (match[2] === undefined) return this.#tree(image, view);
    return hasArchive(layer) ? this.#archive(image, view) : undefined;
  }

  #alone(image: Image, chosen: ChosenManifest, layer: Descriptor, index: number): TreeView {
    const source = this.#sources.of(image, chosen, layer);
    const spec = { key: `alone ${this.#trees.layers.sourceKey(source)}`, sources: [source], alone: true };
    return new TreeView(this.#parts, spec, index);
  }

  #tree(image: Image, view: TreeView): Found {
    return found(new TreeRootDirectory(view, this.#mtimeNs(image)), view.immutableMs);
  }

  #archive(image: Image, view: TreeView): Found {
    return found(new DecodedLayerFile(view, this.#mtimeNs(image)), view.immutableMs);
  }

  #mtimeNs(image: Image): bigint {
    return toNs(image.peekCreated() ?? this.#mountTimeMs);
  }
}

function layersOf({ manifest }: ChosenManifest): readonly Descriptor[] {
  return manifest.kind === 'image' ? manifest.layers : manifest.blobs;
}

/** A layer that is stored as it is has no second file. */
function hasArchive(layer: Descriptor): boolean {
  return layerSuffix(layer.mediaType) !== '.tar';
}

/** True for container images; artifacts have no root file system. */
function hasRootfs({ manifest }: ChosenManifest): boolean {
  if (manifest.kind !== 'image') return false;
  return isImageConfig(manifest.config) || manifest.layers.some((layer) => isTreeLayer(layer.mediaType));
}
