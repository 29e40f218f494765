/**
 * An image to read from: the methods of skopeo's `ImageSource` and `Image`, and of linuxkit's `ImageSource`, over any
 * store. Bound to the digest that the name stood for when it was opened; what is read is verified and cached.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { BlobReader } from '../../content/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { ImageConfig } from '../../oci/image-config.js';
import { referencedBlobs } from '../../oci/manifest.js';
import { LayerStore } from '../../layer/layer-store.js';
import type { CallOptions } from '../../store/store.js';
import { archiveStream, type ExportedArchive, type ExportFormat } from '../export/exported-archive.js';
import { openImageArchive, planImageArchive } from '../export/image-archive.js';
import { openRootfsArchive } from '../export/rootfs-archive.js';
import { imageHistory, type HistoryStep } from '../history.js';
import type { Image } from '../image.js';
import { inspectImage, type InspectOptions, type Inspection } from '../inspect.js';
import type { RelatedDocument } from '../referrers.js';
import type { ImageSignature } from '../signatures/image-signature.js';
import type { Policy } from '../signatures/policy.js';
import type { Verdict } from '../signatures/verify-image.js';
import { signalOf, type LibraryContext } from './library-context.js';
import type { Repository } from './repository.js';
import type { DeleteManifestOptions, GetManifestOptions, GotManifest } from './repository-manifests.js';

/** One layer, ready to be read at any offset. */
export interface OpenLayer {
  readonly index: number;
  readonly descriptor: Descriptor;
  /** The blob as it is stored. Close it. */
  readonly reader: BlobReader;
}

/** SBOMs are documents of some 30 MB at most; a larger one is read as a blob. */
const maxDocumentBytes = 64 * 1024 * 1024;

export class ImageSource {
  /** The image itself: lazy, shared with everything else that reads it. */
  readonly image: Image;
  /** As the caller wrote it: signatures are about this name (skopeo's intended reference). */
  readonly reference: string;
  readonly #repository: Repository;
  readonly #context: LibraryContext;

  constructor(repository: Repository, image: Image, name: string, context: LibraryContext) {
    this.image = image;
    this.#repository = repository;
    this.#context = context;
    const separator = /^[a-z0-9]+:[0-9a-f]{64,}$/.test(name) ? '@' : ':';
    this.reference = `${image.host}/${repository.name}${separator}${name}`;
  }

  /** What the name stands for: a manifest or an index. */
  get descriptor(): Descriptor {
    return this.image.descriptor;
  }

  /** The manifest of one of the accepted types, with its exact bytes. @throws as `RepositoryManifests.get`. */
  getManifest(options: GetManifestOptions = {}): Promise<GotManifest> {
    return this.#repository.manifests.getByDigest(this.descriptor.digest, options);
  }

  /** Any blob of the image, at any offset. Close it. @throws ImgfsError `not-found`. */
  async getBlob(digest: Digest, options: CallOptions = {}): Promise<BlobReader> {
    const { manifest } = await this.image.chosen(options);
    const known = referencedBlobs(manifest).find((blob) => blob.digest === digest);
    if (known === undefined) return this.#repository.blobs.open(digest, options);
    return this.#context.content.open(this.image.source(known), signalOf(options));
  }

  /** The layers, or the chosen ones of them by position, as they are stored. Close the readers. */
  async layers(wanted?: readonly number[], options: CallOptions = {}): Promise<readonly OpenLayer[]> {
    const { manifest } = await this.image.chosen(options);
    const all = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    const opened: OpenLayer[] = [];
    for (const index of wanted ?? all.keys()) {
      const descriptor = all[index];
      if (descriptor === undefined)
        throw new ImgfsError('not-found', `layer ${index}: ${this.reference} has ${all.length} layers`);
      const reader = await this.#context.content.open(this.image.source(descriptor), signalOf(options));
      opened.push({ index, descriptor, reader });
    }
    return opened;
  }

  /** Digests of the layers, lowest first, each once; of an artifact those of its blobs. No layer is read. */
  async layerDigests(options: CallOptions = {}): Promise<readonly Digest[]> {
    const { manifest } = await this.image.chosen(options);
    const all = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    return [...new Set(all.map(({ digest }) => digest))];
  }

  /** The image config; undefined for artifacts. @throws ImgfsError `invalid-content`, and what the store throws. */
  config(options: CallOptions = {}): Promise<ImageConfig | undefined> {
    return this.image.config(options);
  }

  /** What `skopeo inspect` shows, with sizes and both digests of each layer. */
  inspect(options: InspectOptions = {}): Promise<Inspection> {
    return inspectImage(this.image, options);
  }

  /** The steps that made the image, oldest first, with the sizes of their layers; no layer is read. */
  async history(options: CallOptions = {}): Promise<readonly HistoryStep[]> {
    const { manifest } = await this.image.chosen(options);
    return imageHistory(
      await this.image.config(options),
      manifest.kind === 'image' ? manifest.layers : manifest.blobs,
    );
  }

  /** The OCI archive of all that the name stands for, as a stream; `name` renames the image in it. */
  async *ociTarReader(name?: string, options: CallOptions = {}): AsyncGenerator<Uint8Array, void> {
    yield* archiveStream(await this.openArchive('oci', name, options), options);
  }

  /** The archive that `docker load` and `podman load` take, as a stream; `name` renames the image in it. */
  async *v1TarReader(name?: string, options: CallOptions = {}): AsyncGenerator<Uint8Array, void> {
    yield* archiveStream(await this.openArchive('docker', name, options), options);
  }

  /** The same: skopeo's `Image.DockerTar`. */
  dockerTar(options: CallOptions = {}): AsyncIterable<Uint8Array> {
    return this.v1TarReader(undefined, options);
  }

  /** The root file system, all layers merged, as a stream. Layers never seen are gone through once. */
  async *tarReader(options: CallOptions = {}): AsyncGenerator<Uint8Array, void> {
    yield* archiveStream(await this.openArchive('rootfs', undefined, options), options);
  }

  /**
   * An archive of known size, readable at any offset; nothing is written to disk for it. Close it.
   * @throws ImgfsError `unsupported` for artifacts as `docker` or `rootfs`; what reading the image throws.
   */
  async openArchive(
    format: ExportFormat,
    name?: string,
    options: CallOptions = {},
  ): Promise<ExportedArchive> {
    const { content } = this.#context;
    if (format === 'rootfs') {
      const layers = new LayerStore({ cache: content });
      const archive = await openRootfsArchive(this.image, layers, options);
      const close = async (): Promise<void> => {
        await archive.close();
        await layers.close();
      };
      return {
        size: archive.size,
        read: (buffer, position, call) => archive.read(buffer, position, call),
        close,
      };
    }
    const plan = await planImageArchive(this.image, format, content, {
      ...signalOf(options),
      ...(name === undefined ? {} : { name }),
    });
    return openImageArchive(plan, this.image, content);
  }

  /** Bills of materials: of referrers, of cosign's tag, of the attestation children of an index. */
  sboms(options: CallOptions = {}): Promise<readonly RelatedDocument[]> {
    return this.#context.images.related.documents(this.image, 'sbom', options);
  }

  /** Attestations of any predicate, found as SBOMs are. */
  attestations(options: CallOptions = {}): Promise<readonly RelatedDocument[]> {
    return this.#context.images.related.documents(this.image, 'attestation', options);
  }

  /** The bytes of a document that `sboms` or `attestations` gave, verified. @throws ImgfsError `too-large`. */
  readDocument(document: RelatedDocument, options: CallOptions = {}): Promise<Uint8Array> {
    const source = document.artifact.source(document.descriptor);
    return this.#context.content.readAll(source, { ...signalOf(options), maxBytes: maxDocumentBytes });
  }

  /** Every signature, of whatever tool and wherever it is kept; none of them verified. */
  getSignatures(options: CallOptions = {}): Promise<readonly ImageSignature[]> {
    return this.#context.signatures.get(this.image, options);
  }

  /** Ask a policy (`policy.json`) about the image. @throws ImgfsError `denied` with the reasons. */
  verify(policy: Policy, options: CallOptions = {}): Promise<Verdict> {
    return this.#context.signatures.verify(this.image, policy, options);
  }

  /** Delete the manifest, and with it all its tags. @throws as `RepositoryManifests.delete`. */
  delete(options: DeleteManifestOptions = {}): Promise<void> {
    return this.#repository.manifests.delete(this.descriptor.digest, options);
  }
}
