/** A name to write an image to: the methods of skopeo's `ImageDestination`. Blobs first, then the manifest. */
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import type { NewSignature } from '../signatures/signatures.js';
import type { Repository } from './repository.js';
import type { PutBlobOptions } from './repository-blobs.js';

export class ImageDestination {
  readonly #repository: Repository;
  readonly #tag: string;

  constructor(repository: Repository, tag: string) {
    this.#repository = repository;
    this.#tag = tag;
  }

  /** The name in full: `docker.io/library/alpine:3.20`. */
  get canonicalReference(): string {
    const { store, name } = this.#repository;
    const host = store.id.replace(/^docker:\/\//, '');
    return `${host}${name === '' ? '' : `/${name}`}:${this.#tag}`;
  }

  /**
   * Bring a blob into the repository: nothing is sent where it is there already or another repository has it.
   * @throws as `RepositoryBlobs.put`.
   */
  async putBlob(
    content: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | Uint8Array,
    options: PutBlobOptions = {},
  ): Promise<Descriptor> {
    const { digest } = options;
    if (digest !== undefined && (await this.#repository.blobs.exists(digest, options)))
      return this.#repository.blobs.head(digest, options);
    return this.#repository.blobs.put(content, options);
  }

  /** Take a blob over from another repository of the store; false when the store would not. */
  mountBlob(from: string, digest: Digest, options: CallOptions = {}): Promise<boolean> {
    return this.#repository.blobs.mount(from, digest, options);
  }

  /**
   * Put the manifest under the tag; its media type is what it says itself.
   * @throws as `RepositoryManifests.put`.
   */
  putManifest(bytes: Uint8Array, options: CallOptions = {}): Promise<Descriptor> {
    return this.#repository.manifests.put(bytes, { ...options, tags: [this.#tag] });
  }

  /**
   * Put signatures of the image that the tag names, where tools look for them; resolves to where each is now.
   * @throws ImgfsError `not-found` before the manifest was put; as `Signatures.put`.
   */
  async putSignatures(
    signatures: readonly NewSignature[],
    options: CallOptions = {},
  ): Promise<readonly string[]> {
    const image = await this.#repository.image(this.#tag, options);
    const places: string[] = [];
    for (const signature of signatures)
      places.push(await this.#repository.signatures.put(image, signature, options));
    return places;
  }
}
