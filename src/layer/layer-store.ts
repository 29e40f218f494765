/** The layers of one cache: each is opened once, however many images and tags share it. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContentCache } from '../content/content.js';
import type { EvictableKind, KindLedger } from '../content/kind-list.js';
import { isDigest, type Digest } from '../oci/digest.js';
import type { CallOptions } from '../store/store.js';
import { bindingOf, pulledBinding, pulledKey, type Binding } from './foreign/binding.js';
import { ForeignLayer } from './foreign/foreign-layer.js';
import { peekIndexFacts, type IndexFacts, type IndexOrigin } from './index/index-file.js';
import type { Layer } from './layer.js';
import type { LayerIndexes, LayerSource } from './layer-source.js';
import { LentLayer } from './lent-layer.js';
import { OpenLayer, type OpenLayerParts } from './open-layer.js';
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
  /** Layers that are smaller are gone through at once, whatever index their image brings. Default 512 KiB. */
  readonly foreignFromBytes?: number;
}

interface Shared {
  readonly layer: Promise<Layer>;
  users: number;
}

/** What was pulled for a layer. */
export interface PulledIndex {
  /** `pass`: our own was there, or what the image brings cannot be used. */
  readonly origin: IndexOrigin;
  readonly entries: number;
}

/** Stands in where everything is on disk. */
const nothing: LayerIndexes = { key: pulledKey, isBound: false, ztoc: async () => undefined };

/** Told that rows of an index that came with an image are not those of the layer. */
export type OutdatedListener = (identity: string) => void;

/** What takes no longer to fetch than the round trip that an index costs: 20 ms at 25 MB/s. */
const defaultForeignFromBytes = 512 << 10;

/** An index is a hundredth of its layer and dear to make: it counts as used a month later than it was. */
const indexBonusMs = 30 * 24 * 3600 * 1000;

function keyOf({ descriptor }: LayerSource, binding: Binding | undefined): string {
  return binding === undefined ? descriptor.digest : `${descriptor.digest}~${binding.key}`;
}

function digestOfKey(name: string, suffix: string): Digest | undefined {
  if (!name.endsWith(suffix)) return undefined;
  // What binds an index that came with an image stands behind a tilde.
  const [text = ''] = name.slice(0, -suffix.length).replace('-', ':').split('~');
  return isDigest(text) ? text : undefined;
}

export class LayerStore {
  private readonly options: LayerStoreOptions;
  /** By digest, or by digest and what binds an index that came with an image. */
  private readonly open = new Map<string, Shared>();
  /** Identities whose rows were found to be those of the layer. */
  private readonly same = new Set<string>();
  private readonly pulled = new Map<Digest, boolean>();
  private readonly outdatedListeners = new Set<OutdatedListener>();
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
  async openLayer(source: LayerSource, options?: CallOptions): Promise<Layer> {
    const binding = this.bindingFor(source);
    const key = keyOf(source, binding);
    return this.share(
      key,
      () => (binding === undefined ? this.openOwn(source) : this.openForeign(source, binding)),
      options,
    );
  }

  /** Equal for sources whose layers have the same rows, as far as that is known before they are opened. */
  sourceKey(source: LayerSource): string {
    return keyOf(source, this.bindingFor(source));
  }

  /** Identities of layers in a row, with those that were found to have the rows of the layer itself replaced by its. */
  canonicalRows(identities: string): string {
    const all = identities.split(' ');
    return all
      .map((identity) => (this.same.has(identity) ? identity.replace(/~.*/, '') : identity))
      .join(' ');
  }

  /** Be told of layers whose rows were wrong: what was made of them must be made anew. Returns how to stop. */
  onOutdated(listener: OutdatedListener): () => void {
    this.outdatedListeners.add(listener);
    return () => this.outdatedListeners.delete(listener);
  }

  /** What the index on disk says about a layer, without opening it; undefined when there is no index. */
  async peek(digest: Digest): Promise<IndexFacts | undefined> {
    return peekIndexFacts(join(this.options.cache.directory, 'index', `${layerKey(digest)}.lidx`), digest);
  }

  /** Trees and data are given out before the blob's digest is known to match. */
  get isDeferred(): boolean {
    return this.options.deferred ?? false;
  }

  /** Close all layers. */
  async close(): Promise<void> {
    // Those with another index hold the plain ones open.
    const all = [...this.open].toSorted(([a], [b]) => b.length - a.length);
    this.open.clear();
    for (const [, { layer }] of all) await (await layer.catch(() => undefined))?.close();
  }

  private bindingFor(source: LayerSource): Binding | undefined {
    const { foreignFromBytes = defaultForeignFromBytes, deferred = false } = this.options;
    if (source.descriptor.size < foreignFromBytes) return undefined;
    return bindingOf(source, deferred) ?? (this.wasPulled(source) ? pulledBinding(nothing) : undefined);
  }

  /** Whether a user pulled an index of the layer: looked up once, so that it stays one layer while this store lives. */
  private wasPulled({ descriptor }: LayerSource): boolean {
    const { digest } = descriptor;
    const known = this.pulled.get(digest);
    if (known !== undefined) return known;
    const path = join(this.options.cache.directory, 'index', `${layerKey(digest)}~${pulledKey}.lidx`);
    // 10 µs; whoever opens a layer needs to know its name at once.
    const found = existsSync(path);
    this.pulled.set(digest, found);
    return found;
  }

  /**
   * Have the index that an image brings for one of its layers, whoever vouches for it. Undefined when it brings none.
   * @throws ImgfsError why it cannot be used.
   */
  async pullIndex(
    source: LayerSource,
    trusted: boolean,
    options?: CallOptions,
  ): Promise<PulledIndex | undefined> {
    const bound = bindingOf(source, false);
    const { soci } = source;
    const binding = bound ?? (soci === undefined || !trusted ? undefined : pulledBinding(soci));
    if (binding === undefined) return undefined;
    const { digest } = source.descriptor;
    if (binding.kind === 'soci' && (await binding.indexes.ztoc(source, options)) === undefined)
      return undefined;
    const layer = await this.share(keyOf(source, binding), () => this.openForeign(source, binding), options);
    try {
      await layer.whenReady(options);
      if (bound === undefined) this.pulled.set(digest, true);
      return { origin: layer.origin ?? 'pass', entries: layer.table.count };
    } finally {
      await layer.close();
    }
  }

  private async share(key: string, open: () => Promise<Layer>, options?: CallOptions): Promise<Layer> {
    const shared = this.open.get(key) ?? this.start(key, open);
    shared.users += 1;
    try {
      const layer = await shared.layer;
      options?.signal?.throwIfAborted();
      if (layer.progress().state === 'failed') this.forget(key, shared);
      return new LentLayer(layer, () => this.giveBack(key, shared));
    } catch (error) {
      await this.giveBack(key, shared);
      throw error;
    }
  }

  private start(key: string, open: () => Promise<Layer>): Shared {
    const shared: Shared = { layer: open(), users: 0 };
    this.open.set(key, shared);
    return shared;
  }

  private openOwn(source: LayerSource): Promise<Layer> {
    const { cache, limits = defaultLimits, deferred = false } = this.options;
    return OpenLayer.open({
      source,
      cache,
      limits,
      deferred,
      ...(this.options.commitBytes === undefined ? {} : { commitBytes: this.options.commitBytes }),
      ...this.ledgers(),
    });
  }

  private openForeign(source: LayerSource, binding: Binding): Promise<Layer> {
    const { cache, limits = defaultLimits } = this.options;
    const { digest } = source.descriptor;
    return ForeignLayer.open({
      source,
      binding,
      cache,
      limits,
      hasOwn: async () => (await this.peek(digest)) !== undefined,
      openOwn: () => this.share(digest, () => this.openOwn(source)),
      onSame: (identity) => this.same.add(identity),
      onOutdated: (identity) => {
        this.open.delete(keyOf(source, binding));
        for (const listener of this.outdatedListeners) listener(identity);
      },
      ...this.ledgers(),
    });
  }

  private ledgers(): Pick<Required<OpenLayerParts>, 'onIndexed' | 'onDecoded'> {
    return {
      onIndexed: (key, bytes) => this.indexLedger?.set(`${key}.lidx`, bytes),
      onDecoded: (key, bytes) => this.decodedLedger?.grow(`${key}.tar`, bytes),
    };
  }

  /** A layer that failed is tried anew by the next who opens it. */
  private forget(key: string, shared: Shared): void {
    if (this.open.get(key) === shared) this.open.delete(key);
  }

  private isOpen(digest: Digest): boolean {
    return [...this.open.keys()].some((key) => key.startsWith(digest));
  }

  private async giveBack(key: string, shared: Shared): Promise<void> {
    shared.users -= 1;
    if (shared.users > 0) return;
    this.forget(key, shared);
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
        if (digest === undefined || this.isOpen(digest)) return false;
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
        // An open layer has its file in use: only what nobody is in the middle of may go.
        const shared = this.open.get(digest);
        const layer = key.includes('~') ? undefined : await shared?.layer.catch(() => undefined);
        if (layer instanceof OpenLayer) return layer.shrinkDecoded();
        if (this.isOpen(digest)) return false;
        const tilde = key.indexOf('~');
        await DecodedFile.remove(folder, digest, tilde < 0 ? '' : key.slice(tilde, -'.tar'.length));
        return true;
      },
    };
  }
}
