/** The layers of one cache: each is opened once, however many images and tags share it. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobSource, ContentCache } from '../content/content.js';
import type { EvictableKind, KindLedger } from '../content/kind-list.js';
import { isDigest, type Digest } from '../oci/digest.js';
import type { CallOptions } from '../store/store.js';
import { peekIndexFacts, type IndexFacts } from './index/index-file.js';
import type { Layer } from './layer.js';
import { LentLayer } from './lent-layer.js';
import { OpenLayer } from './open-layer.js';
import { BuildFolder, buildSuffix } from './pass/build-folder.js';
import { defaultLimits, type DecodeLimits } from './pass/limits.js';
import { DecodedFile, layerKey } from './read/decoded-file.js';

export interface LayerStoreOptions {
  readonly cache: ContentCache & {
    /** A cache with a bound counts indexes and decoded layers too. */
    registerKind?(kind: EvictableKind): KindLedger;
  };
  readonly limits?: DecodeLimits;
  /** Give out trees and data before the blob's digest is known to match. Default false. */
  readonly deferred?: boolean;
  /** Bytes of a blob between two entries of the journal of a pass. Default 16 MiB. */
  readonly commitBytes?: number;
}

interface Shared {
  readonly layer: Promise<OpenLayer>;
  users: number;
}

/** An index is a hundredth of its layer and dear to make: it counts as used a month later than it was. */
const indexBonusMs = 30 * 24 * 3600 * 1000;

function digestOfKey(name: string, suffix: string): Digest | undefined {
  if (!name.endsWith(suffix)) return undefined;
  const text = name.slice(0, -suffix.length).replace('-', ':');
  return isDigest(text) ? text : undefined;
}

export class LayerStore {
  private readonly options: LayerStoreOptions;
  private readonly open = new Map<Digest, Shared>();
  private readonly indexLedger: KindLedger | undefined;
  private readonly decodedLedger: KindLedger | undefined;

  constructor(options: LayerStoreOptions) {
    this.options = options;
    this.indexLedger = options.cache.registerKind?.(this.indexKind());
    this.decodedLedger = options.cache.registerKind?.(this.decodedKind());
  }

  /**
   * Open a layer, or share it when it is open. Give it back with its `close`. A pass that is needed begins at once.
   * @throws ImgfsError as `ContentCache.open`.
   */
  async openLayer(source: BlobSource, options?: CallOptions): Promise<Layer> {
    const { digest } = source.descriptor;
    const shared = this.open.get(digest) ?? this.start(source);
    shared.users += 1;
    try {
      const layer = await shared.layer;
      options?.signal?.throwIfAborted();
      if (layer.progress().state === 'failed') this.forget(digest, shared);
      return new LentLayer(layer, () => this.giveBack(digest, shared));
    } catch (error) {
      await this.giveBack(digest, shared);
      throw error;
    }
  }

  /** What the index on disk says about a layer, without opening it; undefined when there is no index. */
  async peek(digest: Digest): Promise<IndexFacts | undefined> {
    return peekIndexFacts(join(this.options.cache.directory, 'index', `${layerKey(digest)}.lidx`), digest);
  }

  /** Close all layers. */
  async close(): Promise<void> {
    const all = [...this.open.values()];
    this.open.clear();
    for (const { layer } of all) await (await layer.catch(() => undefined))?.close();
  }

  private start(source: BlobSource): Shared {
    const { cache, limits = defaultLimits, deferred = false } = this.options;
    const layer = OpenLayer.open({
      source,
      cache,
      limits,
      deferred,
      ...(this.options.commitBytes === undefined ? {} : { commitBytes: this.options.commitBytes }),
      onIndexed: (key, bytes) => this.indexLedger?.set(`${key}.lidx`, bytes),
      onDecoded: (key, bytes) => this.decodedLedger?.grow(`${key}.tar`, bytes),
    });
    const shared: Shared = { layer, users: 0 };
    this.open.set(source.descriptor.digest, shared);
    return shared;
  }

  /** A layer that failed is tried anew by the next who opens it. */
  private forget(digest: Digest, shared: Shared): void {
    if (this.open.get(digest) === shared) this.open.delete(digest);
  }

  private async giveBack(digest: Digest, shared: Shared): Promise<void> {
    shared.users -= 1;
    if (shared.users > 0) return;
    this.forget(digest, shared);
    const layer = await shared.layer.catch(() => undefined);
    await layer?.close();
  }

  private indexKind(): EvictableKind {
    const folder = join(this.options.cache.directory, 'index');
    return {
      name: 'index',
      folder,
      bonusMs: indexBonusMs,
      accepts: (key) =>
        digestOfKey(key, '.lidx') !== undefined || digestOfKey(key, buildSuffix) !== undefined,
      evict: async (key) => {
        const digest = digestOfKey(key, '.lidx') ?? digestOfKey(key, buildSuffix);
        if (digest === undefined || this.open.has(digest)) return false;
        if (key.endsWith(buildSuffix)) {
          const build = await BuildFolder.claim(folder, key.slice(0, -buildSuffix.length));
          await build?.remove();
          return build !== undefined;
        }
        await rm(join(folder, key), { force: true });
        return true;
      },
    };
  }

  private decodedKind(): EvictableKind {
    const folder = join(this.options.cache.directory, 'decoded');
    return {
      name: 'decoded',
      folder,
      accepts: (key) => digestOfKey(key, '.tar') !== undefined,
      evict: async (key) => {
        const digest = digestOfKey(key, '.tar');
        if (digest === undefined) return false;
        // An open layer has its file in use: readers without us may be in the middle of it.
        if (this.open.has(digest)) return false;
        await DecodedFile.remove(folder, digest);
        return true;
      },
    };
  }
}
