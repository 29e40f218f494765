/**
 * Pinned images: the entries of the cache's `index.json`, and everything they reach. Never evicted.
 *
 * `index.json` is the truth, shared by all processes; it is read again whenever it changed. An entry whose
 * manifests are not in the cache reaches only what is.
 */
import { promises as fs } from 'node:fs';
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { referencedBlobs, type Manifest } from '../oci/manifest.js';
import { manifestKind, mediaTypes } from '../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../oci/parse-manifest.js';
import { descriptorJson } from './descriptor-json.js';
import { replaceFile } from './durable.js';
import { own } from './owner-lock.js';
import type { CachePaths } from './cache-paths.js';

const log = createLogger('content');

/** image-spec annotations.md: how other tools find an image in a layout by name. */
const refNameKey = 'org.opencontainers.image.ref.name';
/** A lock is held for the time of writing one small file. */
const lockMs = 10_000;
/** 10,000 pinned images of 400 bytes each. */
const maxIndexBytes = maxManifestBytes;
/** Indexes in indexes: two is what registries have; more is a loop or a joke. */
const maxDepth = 4;

export interface Pin {
  readonly name: string;
  readonly descriptor: Descriptor;
}

/** Bytes of a manifest that is in the cache, verified; undefined when it is not. */
export type ManifestLoader = (descriptor: Descriptor) => Promise<Uint8Array | undefined>;

export class Pins {
  readonly #paths: CachePaths;
  readonly #load: ManifestLoader;
  #reached = new Set<Digest>();
  #readFrom: string | undefined;
  #reading: Promise<void> | undefined;

  constructor(paths: CachePaths, load: ManifestLoader) {
    this.#paths = paths;
    this.#load = load;
  }

  /** True when the blob belongs to a pinned image, as of the last `refresh`. */
  has(digest: Digest): boolean {
    return this.#reached.has(digest);
  }

  /** Read the pins again if they changed. Never fails. */
  refresh(): Promise<void> {
    this.#reading ??= this.#refresh()
      .catch((error: unknown) => log.warn('pins could not be read', { error: String(error) }))
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  async #refresh(): Promise<void> {
    const stat = await fs.stat(this.#paths.indexFile).catch(() => undefined);
    const version = stat === undefined ? 'none' : `${stat.ino}/${stat.size}/${stat.mtimeMs}`;
    if (version === this.#readFrom) return;
    const reached = new Set<Digest>();
    for (const { descriptor } of await this.list()) await this.#reach(descriptor, reached, maxDepth);
    this.#reached = reached;
    this.#readFrom = version;
  }

  async #reach(descriptor: Descriptor, reached: Set<Digest>, depth: number): Promise<void> {
    if (reached.has(descriptor.digest)) return;
    reached.add(descriptor.digest);
    if (depth === 0 || manifestKind(descriptor.mediaType) === undefined) return;
    const bytes = await this.#load(descriptor).catch(() => undefined);
    if (bytes === undefined) return;
    for (const child of childrenOf(bytes, descriptor)) await this.#reach(child, reached, depth - 1);
  }

  /** All pins. An unreadable index.json has none: it is written anew by the next pin. */
  async list(): Promise<readonly Pin[]> {
    const manifests = await this.#readIndex();
    return manifests.map((descriptor) => ({
      name: descriptor.annotations?.[refNameKey] ?? descriptor.digest,
      descriptor,
    }));
  }

  async #readIndex(): Promise<readonly Descriptor[]> {
    try {
      const stat = await fs.stat(this.#paths.indexFile);
      if (stat.size > maxIndexBytes) throw new ImgfsError('too-large', 'read index.json of the cache');
      const bytes = await fs.readFile(this.#paths.indexFile);
      const index = parseManifest(bytes, mediaTypes.ociIndex, { what: 'index.json of the cache' });
      return index.kind === 'index' ? index.manifests : [];
    } catch (error) {
      if (isImgfsError(error)) log.warn('index.json of the cache is damaged', { error: error.message });
      return [];
    }
  }

  /** Add or replace a pin. @throws ImgfsError `unavailable` when another process holds the lock for long. */
  async add(name: string, descriptor: Descriptor): Promise<void> {
    await this.#change((manifests) => [
      ...manifests.filter((each) => each.annotations?.[refNameKey] !== name),
      { ...descriptor, annotations: { ...descriptor.annotations, [refNameKey]: name } },
    ]);
  }

  /** Take away the pins of that name or digest; returns how many there were. */
  async remove(nameOrDigest: string): Promise<number> {
    let count = 0;
    await this.#change((manifests) => {
      const kept = manifests.filter(
        (each) => each.annotations?.[refNameKey] !== nameOrDigest && each.digest !== nameOrDigest,
      );
      count = manifests.length - kept.length;
      return kept;
    });
    return count;
  }

  async #change(change: (manifests: readonly Descriptor[]) => readonly Descriptor[]): Promise<void> {
    const lock = await own(this.#paths.locks, lockMs);
    if (lock === undefined) {
      throw new ImgfsError('unavailable', 'change pins: another process holds the lock', {
        path: this.#paths.locks,
        hint: 'try again; when it stays so, a process that holds the lock hangs',
      });
    }
    try {
      const manifests = change(await this.#readIndex()).map(descriptorJson);
      const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
      await replaceFile(this.#paths.indexFile, `${JSON.stringify(index, undefined, 2)}\n`, 0o644);
    } finally {
      await lock.release();
    }
    await this.refresh();
  }
}

/** Descriptors that a manifest names, its subject not included. Empty when it cannot be read. */
export function childrenOf(bytes: Uint8Array, descriptor: Descriptor): readonly Descriptor[] {
  let manifest: Manifest;
  try {
    manifest = parseManifest(bytes, descriptor.mediaType);
  } catch {
    return [];
  }
  return manifest.kind === 'index' ? manifest.manifests : referencedBlobs(manifest);
}
