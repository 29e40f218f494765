/** Blobs that manifests named: what they are and where they can be had, without asking a store. */
import { LRUCache } from 'lru-cache';
import type { BlobSource } from '../content/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { referencedBlobs, type Manifest } from '../oci/manifest.js';
import type { Digest } from '../oci/digest.js';
import type { ImageStore } from '../store/store.js';

/** About 300 bytes each: 15 MB when full. */
const maxBlobs = 50_000;

export class SeenBlobs {
  // `max` would make room for all of them now: 2 ms and 1.6 MB for 50,000.
  readonly #blobs = new LRUCache<Digest, BlobSource>({ maxSize: maxBlobs, sizeCalculation: () => 1 });

  /** Take over what a verified manifest says. Manifests are taken as well: they are content under a digest. */
  learn(store: ImageStore, repository: string, descriptor: Descriptor, manifest: Manifest | undefined): void {
    this.add({ store, repository, descriptor });
    if (manifest === undefined) return;
    for (const blob of referencedBlobs(manifest)) this.add({ store, repository, descriptor: blob });
  }

  add(source: BlobSource): void {
    this.#blobs.set(source.descriptor.digest, source);
  }

  /** It was deleted. */
  remove(digest: Digest): void {
    this.#blobs.delete(digest);
  }

  /** Where a blob was last seen. */
  get(digest: Digest): BlobSource | undefined {
    return this.#blobs.get(digest);
  }

  /** Sources of one repository, newest first. Walks the whole table: for listings only. */
  of(store: ImageStore, repository: string): readonly BlobSource[] {
    return [...this.#blobs.values()].filter(
      (source) => source.store.id === store.id && source.repository === repository,
    );
  }
}
