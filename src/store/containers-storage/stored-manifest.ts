/**
 * The manifest under which an image of a containers-storage can be read.
 *
 * The storage keeps the manifest as it came and layers unpacked: what was compressed cannot be had again, byte for
 * byte. Where the manifest names such layers, one that names their tars (by diffID) stands in for it, as in
 * containers/image when it copies from a storage. The original stays readable under its own digest.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { parseImageConfig } from '../../oci/image-config.js';
import type { ImageManifest } from '../../oci/manifest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import type { StoredLayer } from './documents.js';

export interface ReadableManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** The layers of an image, the lowest first. @throws ImgfsError `stale` when one is missing. */
export function layerChain(
  topLayer: string | undefined,
  layers: ReadonlyMap<string, StoredLayer>,
): readonly StoredLayer[] {
  const chain: StoredLayer[] = [];
  const seen = new Set<string>();
  for (let id = topLayer; id !== undefined;) {
    const layer = layers.get(id);
    if (layer === undefined || seen.has(id)) {
      throw new ImgfsError('stale', `read image: its layer ${id} is not in the storage`, {
        hint: 'the image is being pulled or removed; otherwise remove it and pull it again',
      });
    }
    seen.add(id);
    chain.push(layer);
    id = layer.parent;
  }
  return chain.toReversed();
}

/**
 * The original when its layers can be read as they are, else one that names their tars.
 * @throws ImgfsError `busy` for a layer that is half written, `unsupported` for one without a tar, `invalid-content`.
 */
export function readableManifest(
  original: Uint8Array,
  config: (digest: Digest) => Uint8Array,
  chain: readonly StoredLayer[],
): ReadableManifest {
  const manifest = parseManifest(original);
  const unchanged = {
    descriptor: { mediaType: manifest.mediaType, digest: digestOf(original), size: original.length },
    bytes: original,
  };
  // Artifacts have files, not layers.
  if (manifest.kind !== 'image' || (chain.length === 0 && manifest.layers.length === 0)) return unchanged;
  const { diffIds } = parseImageConfig(config(manifest.config.digest));
  const tars = diffIds.map((diffId, at) => tarOf(diffId, chain[at]));
  if (diffIds.length !== chain.length) {
    throw new ImgfsError(
      'invalid-content',
      `read image: ${diffIds.length} layers in its config, ${chain.length} stored`,
    );
  }
  if (tars.every(({ digest }, at) => manifest.layers[at]?.digest === digest)) return unchanged;
  return withLayers(original, manifest, tars);
}

function tarOf(diffId: Digest, layer: StoredLayer | undefined): { digest: Digest; size: number } {
  if (layer === undefined)
    throw new ImgfsError('invalid-content', `read image: the layer ${diffId} is not stored`);
  if (layer.isIncomplete) {
    throw new ImgfsError('busy', `read image: its layer ${layer.id} is half written`, {
      hint: 'wait for the pull to end; if nobody pulls, remove the image and pull it again',
    });
  }
  if (layer.diffDigest !== diffId || layer.diffSize === undefined) {
    throw new ImgfsError('unsupported', `read image: its layer ${layer.id} is stored without its tar`, {
      hint: 'it was pulled file by file (zstd:chunked): read it from its registry',
    });
  }
  return { digest: diffId, size: layer.diffSize };
}

function withLayers(
  original: Uint8Array,
  manifest: ImageManifest,
  tars: readonly { readonly digest: Digest; readonly size: number }[],
): ReadableManifest {
  const isDocker = manifest.mediaType === mediaTypes.dockerManifest;
  const mediaType = isDocker ? mediaTypes.dockerLayer : mediaTypes.ociLayer;
  const layers = tars.map(({ digest, size }) => ({ mediaType, digest, size }));
  const document = JSON.parse(Buffer.from(original).toString('utf8')) as Record<string, unknown>;
  const bytes = Buffer.from(JSON.stringify({ ...document, layers }));
  return {
    descriptor: { mediaType: manifest.mediaType, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}
