/** One version of a containers-storage: its images by name, manifests and configs as they are, layers as tars. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { explained } from '../../errors/explained.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { digestHex, isDigest, type Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import { createLogger } from '../../observe/log.js';
import { fileError } from '../file-error.js';
import { parseTagName, type ImageName } from '../image-name.js';
import { ImageTable, type ImageEntry } from '../layout/image-table.js';
import { maxSignatureBytes, maxSignatures } from '../lookaside/limits.js';
import { readSmallFile } from '../safe-open.js';
import type { Snapshot, SnapshotBlob } from '../snapshot-store.js';
import type { ByteRange, CallOptions } from '../store.js';
import {
  bigDataFile,
  maxDocumentBytes,
  parseImages,
  parseLayers,
  type StoredImage,
  type StoredLayer,
} from './documents.js';
import { RootedFiles } from './in-root.js';
import type { StorageRoot } from './storage-root.js';
import { layerChain, readableManifest } from './stored-manifest.js';
import { TarSplitReader } from './tar-split.js';

const log = createLogger('containers-storage');

/** Images read at a time: two small files each; libuv has four threads. */
const readers = 8;

const emptyConfig = `{}`;

async function document(path: string, isOptional = false): Promise<Uint8Array> {
  try {
    const options = {
      operation: 'read',
      within: [],
      maxBytes: maxDocumentBytes,
      missing: 'not-found',
    } as const;
    return (await readSmallFile(path, options)).bytes;
  } catch (error) {
    if (isOptional && isImgfsError(error, 'not-found')) return Buffer.from('[]');
    throw error;
  }
}

/** An engine replaces its lists as a whole: one that breaks off was left so by an outage. */
async function parsed<Value>(
  path: string,
  parse: (bytes: Uint8Array, what: string) => Value,
  isOptional = false,
): Promise<Value> {
  const bytes = await document(path, isOptional);
  try {
    return parse(bytes, path);
  } catch (error) {
    const hint =
      'the storage is damaged: podman system reset empties it, or put this file back from a backup';
    throw explained(error, { path, hint });
  }
}

/** Read everything but the layers. @throws ImgfsError `invalid-content`, `denied`, `not-found`. */
export async function readStorage(root: StorageRoot): Promise<Snapshot> {
  const imagesPath = join(root.imagesFolder, 'images.json');
  // Images first: a layer is listed before the image that needs it, and goes after it.
  const images = await parsed(imagesPath, parseImages);
  const layers = new Map<string, StoredLayer>();
  for (const name of ['layers.json', 'volatile-layers.json']) {
    const path = join(root.layersFolder, name);
    for (const layer of await parsed(path, parseLayers, true)) layers.set(layer.id, layer);
  }
  return new StorageReader(root, images, layers).snapshot();
}

class StorageReader {
  private readonly root: StorageRoot;
  private readonly images: readonly StoredImage[];
  private readonly layers: ReadonlyMap<string, StoredLayer>;
  private readonly blobs = new Map<Digest, SnapshotBlob>();
  /** Why a blob that somebody may ask for cannot be had. */
  private readonly problems = new Map<Digest, ImgfsError>();

  constructor(root: StorageRoot, images: readonly StoredImage[], layers: ReadonlyMap<string, StoredLayer>) {
    this.root = root;
    this.images = images;
    this.layers = layers;
  }

  async snapshot(): Promise<Snapshot> {
    const entries: (Omit<ImageEntry, 'position'> | undefined)[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let at = next++; at < this.images.length; at = next++) {
        const image = this.images[at];
        if (image !== undefined) entries[at] = await this.entry(image);
      }
    };
    await Promise.all(Array.from({ length: readers }, work));
    for (const layer of this.layers.values()) this.addLayer(layer);
    const found = entries.filter((entry) => entry !== undefined);
    return {
      images: new ImageTable(this.root.path, found),
      blob: (digest) => {
        const blob = this.blobs.get(digest);
        const problem = blob === undefined ? this.problems.get(digest) : undefined;
        if (problem !== undefined) throw problem;
        return blob;
      },
      signatures: (digest) => this.signatures(digest),
      close: async () => undefined,
    };
  }

  /** One damaged image must not hide the others: it is listed, and says what is wrong when it is read. */
  private async entry(image: StoredImage): Promise<Omit<ImageEntry, 'position'> | undefined> {
    const names = image.names.map(parseTagName).filter((name): name is ImageName => name !== undefined);
    try {
      const data = await this.bigData(image);
      const original = data.get('manifest') ?? data.get(`manifest-${image.digest ?? ''}`);
      if (original === undefined) {
        throw new ImgfsError('invalid-content', `read image ${image.id}: its manifest is not stored`);
      }
      const chain = layerChain(image.topLayer, this.layers);
      const config = (digest: Digest): Uint8Array => data.get(digest) ?? Buffer.from(emptyConfig);
      const { descriptor, bytes } = readableManifest(original, config, chain);
      this.blobs.set(descriptor.digest, { bytes });
      return { descriptor, names };
    } catch (error) {
      const path = join(this.root.imagesFolder, image.id);
      const failure = fileError(explained(error, { path }), 'read image', path);
      log.warn('an image of the storage cannot be read', { image: image.id, error: failure.message });
      if (image.digest === undefined) return undefined;
      this.problems.set(image.digest, failure);
      this.blobs.delete(image.digest);
      return { descriptor: { mediaType: mediaTypes.ociManifest, digest: image.digest, size: 1 }, names };
    }
  }

  /** Manifests and configs, whole; signatures and what is larger stay where they are. */
  private async bigData(image: StoredImage): Promise<ReadonlyMap<string, Uint8Array>> {
    const found = new Map<string, Uint8Array>();
    for (const { key, digest, size } of image.bigData) {
      const named = key.replace(/^manifest-/, '');
      const known = digest ?? (isDigest(named) ? named : undefined);
      const isWanted = key === 'manifest' || isDigest(named);
      if (!isWanted || (size ?? 0) > maxManifestBytes) continue;
      const path = join(this.root.imagesFolder, image.id, bigDataFile(key));
      const { bytes } = await readSmallFile(path, {
        operation: 'read image',
        within: [],
        maxBytes: maxManifestBytes,
      });
      found.set(key, bytes);
      if (known !== undefined && !this.blobs.has(known)) this.blobs.set(known, { bytes });
    }
    return found;
  }

  /** Those of all images with that manifest: they lie in one file of the image, one behind the other. */
  private async signatures(digest: Digest): Promise<readonly Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (const { id, signatureSizes } of this.images) {
      const sizes = signatureSizes.get(digest) ?? [];
      if (sizes.length === 0) continue;
      const path = join(this.root.imagesFolder, id, bigDataFile(`signature-${digestHex(digest)}`));
      const { bytes } = await readSmallFile(path, {
        operation: 'read signatures',
        within: [],
        maxBytes: maxSignatureBytes,
      });
      let at = 0;
      for (const size of sizes.slice(0, maxSignatures)) found.push(bytes.subarray(at, (at += size)));
      if (at > bytes.length)
        throw new ImgfsError('invalid-content', `read signatures ${path}: ${bytes.length} of ${at} bytes`, {
          path,
          digest,
        });
    }
    return found;
  }

  private addLayer({ id, diffDigest, diffSize, isIncomplete }: StoredLayer): void {
    if (diffDigest === undefined || diffSize === undefined || isIncomplete || this.blobs.has(diffDigest))
      return;
    const layer = {
      path: join(this.root.layersFolder, `${id}.tar-split.gz`),
      files: new RootedFiles(this.root.layerFiles(id)),
      size: diffSize,
    };
    const reader = new TarSplitReader(layer);
    this.blobs.set(diffDigest, {
      size: diffSize,
      open: async (range: ByteRange, options: CallOptions) => {
        await stat(layer.path).catch((error: unknown) => {
          throw fileError(error, 'read layer', layer.path, { missing: 'not-found', digest: diffDigest });
        });
        const chunks = reader.read(range, options);
        return {
          ...range,
          totalSize: diffSize,
          chunks,
          cancel: () => void chunks.return(undefined).catch(() => undefined),
        };
      },
    });
  }
}
