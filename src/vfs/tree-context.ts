/** What every node may use: the rooms below, put together once per mount. */
import type { LRUCache } from 'lru-cache';
import type { ContentCache } from '../content/content.js';
import type { Image } from '../image/image.js';
import type { Images } from '../image/images.js';
import type { PolicyGate } from '../image/signatures/policy-gate.js';
import type { Signatures } from '../image/signatures/signatures.js';
import type { SeenBlobs } from '../image/seen-blobs.js';
import type { StoreDirectory } from '../image/stores.js';
import type { Digest } from '../oci/digest.js';
import type { CallOptions, ImageStore } from '../store/store.js';
import type { Lifetimes } from './lifetimes.js';
import type { Name } from './name.js';
import type { Writing } from './writing/writing.js';
import type { DirectoryNode, Found, ListedChild, MaybePromise } from './node.js';

/** Renders a control file anew. Must be cheap: it runs at `stat` too. */
export type ControlFile = (options: CallOptions) => Promise<Uint8Array>;

/** Where in an image directory an extension adds names. */
export type ImagePlace = 'image' | 'layers';

/**
 * Adds names to image directories: decompressed layers and layer trees to `layers/`, merged trees and archives to
 * the image directory itself. Asked after the names that are always there.
 */
export interface ImageExtension {
  /** Names it gives, without reading a layer. */
  list(place: ImagePlace, image: Image, options: CallOptions): MaybePromise<readonly ListedChild[]>;
  /** Undefined when the name is not one of its own. */
  lookup(place: ImagePlace, image: Image, name: Name, options: CallOptions): MaybePromise<Found | undefined>;
  /** True for names of its own, for any image: they are never taken for repositories. */
  owns(place: ImagePlace, name: string): boolean;
  /** Let go of everything: the tree is closed. */
  close?(): Promise<void>;
}

export interface TreeContext {
  readonly stores: StoreDirectory;
  readonly images: Images;
  readonly content: ContentCache;
  readonly signatures: Signatures;
  /** Asked before anything of an image is shown; undefined where no policy was given. */
  readonly gate?: PolicyGate;
  readonly seen: SeenBlobs;
  readonly lifetimes: Lifetimes;
  /** Time of everything whose own time is not known, in nanoseconds since the epoch. */
  readonly mountTimeNs: bigint;
  readonly controlFiles: ReadonlyMap<string, ControlFile>;
  readonly extensions: readonly ImageExtension[];
  /** Registries to list although nothing of them was read yet. */
  readonly configuredRegistries: readonly string[];
  /** An image as a directory, for nodes that image directories are made of. */
  readonly imageNode: (image: Image) => DirectoryNode;
  /** A repository that is known to be one, for a directory that was made and is used as one. */
  readonly repositoryNode: (store: ImageStore, repository: string, host: string | undefined) => DirectoryNode;
  /** Registries that answered since the mount. */
  readonly visitedRegistries: Set<string>;
  /**
   * Blobs of which wrong bytes may have been read, and are in the kernel's page cache: the next open must not keep
   * its pages.
   */
  readonly suspects: LRUCache<Digest, true>;
  /** Undefined where the tree takes no writes. */
  writing?: Writing;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}
