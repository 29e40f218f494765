/**
 * Trees of layers, open while they are in use: each is made once, however many look at it, and the least recently
 * used are let go when they take too much memory.
 */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { untilAborted } from '../../image/single-flight.js';
import type { Layer } from '../../layer/layer.js';
import type { LayerSource } from '../../layer/layer-source.js';
import type { LayerStore } from '../../layer/layer-store.js';
import { layerTree, mergeLayers } from '../../layer/merge/merge-layers.js';
import type { MergedTree } from '../../layer/merge/merged-tree.js';
import type { CallOptions } from '../../store/store.js';
import { refuseUnreadable } from './refuse-unreadable.js';

/** A tree, and the layers it is made of, the lowest first. */
export interface LoadedTree {
  readonly merged: MergedTree;
  readonly layers: readonly Layer[];
  /** Names the rows of the layers: nodes of trees that differ in it have nothing to do with each other. */
  readonly rows: string;
}

/**
 * Memory of trees that are kept: an entry of a layer takes about 65 bytes, a node 40. 64 MiB are about 600,000 files,
 * a third of the 200 MB that a process may take. One tree is kept whatever its size.
 */
const maxBytes = 64 * 1024 * 1024;
/** Layers that are kept open: four descriptors each, of the 1,024 that a process has at least. */
const maxLayers = 200;
/** Index passes at once for one image: a pass takes some megabytes, and three already fill a line of 1 Gbit/s. */
const parallelPasses = 6;
/** Work that nobody waits for goes on so long: who ran into a deadline comes again. */
const graceMs = 60_000;
/** A layer that cannot be read is not fetched again for so long. */
const failureMs = 30_000;
const bytesPerNode = 40;

interface OpenTree {
  readonly key: string;
  readonly loading: Promise<LoadedTree>;
  readonly abort: AbortController;
  loaded: LoadedTree | undefined;
  bytes: number;
  waiters: number;
  usedAt: number;
  grace: NodeJS.Timeout | undefined;
}

interface Failure {
  readonly error: ImgfsError;
  readonly until: number;
}

/** What a tree is made of. */
export interface TreeSpec {
  /** Equal for equal trees. */
  readonly key: string;
  /** The lowest first. */
  readonly sources: readonly LayerSource[];
  /** One layer alone, with its whiteouts, instead of all merged. */
  readonly alone: boolean;
}

export class OpenTrees {
  readonly #layers: LayerStore;
  readonly #trees = new Map<string, OpenTree>();
  readonly #failures = new Map<string, Failure>();
  readonly #closing = new Set<Promise<unknown>>();
  readonly #stopListening: () => void;
  #clock = 0;

  constructor(layers: LayerStore) {
    this.#layers = layers;
    this.#stopListening = layers.onOutdated((identity) => this.#dropOutdated(identity));
  }

  get layers(): LayerStore {
    return this.#layers;
  }

  /** The tree, if it is in memory. */
  peek(spec: TreeSpec): LoadedTree | undefined {
    const tree = this.#trees.get(spec.key);
    if (tree?.loaded === undefined) return undefined;
    this.#clock += 1;
    tree.usedAt = this.#clock;
    return tree.loaded;
  }

  /**
   * The tree; waits for the layers' indexes.
   * @throws ImgfsError as `Layer.whenReady`, naming the layer; `unsupported` for layers that cannot be read.
   */
  async load(spec: TreeSpec, options: CallOptions): Promise<LoadedTree> {
    const failure = this.#failures.get(spec.key);
    if (failure !== undefined && failure.until > Date.now()) throw failure.error;
    const tree = this.#trees.get(spec.key) ?? this.#start(spec);
    this.#clock += 1;
    tree.usedAt = this.#clock;
    tree.waiters += 1;
    clearTimeout(tree.grace);
    try {
      return await untilAborted(tree.loading, options.signal);
    } finally {
      tree.waiters -= 1;
      if (tree.waiters === 0 && tree.loaded === undefined && this.#trees.get(spec.key) === tree) {
        tree.grace = setTimeout(() => this.#drop(tree), graceMs).unref();
      }
    }
  }

  /** Stop everything, and close the layers. */
  async close(): Promise<void> {
    this.#stopListening();
    for (const tree of this.#trees.values()) this.#drop(tree);
    await Promise.allSettled(this.#closing);
    await this.#layers.close();
  }

  #start(spec: TreeSpec): OpenTree {
    const abort = new AbortController();
    const opened: (Promise<Layer> | undefined)[] = [];
    const tree: OpenTree = {
      key: spec.key,
      abort,
      loading: this.#make(spec, opened, abort.signal),
      loaded: undefined,
      bytes: 0,
      waiters: 0,
      usedAt: 0,
      grace: undefined,
    };
    this.#trees.set(spec.key, tree);
    abort.signal.addEventListener('abort', () => this.#track(closeAll(opened)), { once: true });
    tree.loading.then(
      (loaded) => this.#keep(tree, loaded),
      (error: unknown) => this.#fail(tree, toImgfsError(error)),
    );
    return tree;
  }

  async #make(
    spec: TreeSpec,
    opened: (Promise<Layer> | undefined)[],
    signal: AbortSignal,
  ): Promise<LoadedTree> {
    const { sources } = spec;
    let next = sources.length - 1;
    // The top layer first: what was changed last is what is looked at.
    const worker = async (): Promise<void> => {
      for (let index = next; index >= 0; index = next) {
        next = index - 1;
        await this.#ready(sources, index, opened, signal);
      }
    };
    const count = Math.min(parallelPasses, sources.length);
    await Promise.all(Array.from({ length: count }, worker));
    const layers = await Promise.all(opened.filter((layer) => layer !== undefined));
    const [only] = layers;
    const merged =
      spec.alone && only !== undefined
        ? await layerTree(only, { signal })
        : await mergeLayers(layers, { signal });
    return { merged, layers, rows: layers.map((layer) => layer.identity).join(' ') };
  }

  /** Trees with a layer whose index was wrong are made anew by who looks next. */
  #dropOutdated(identity: string): void {
    for (const tree of this.#trees.values()) {
      if (tree.loaded?.layers.some((layer) => layer.identity === identity) === true) this.#drop(tree);
    }
  }

  async #ready(
    sources: readonly LayerSource[],
    index: number,
    opened: (Promise<Layer> | undefined)[],
    signal: AbortSignal,
  ): Promise<void> {
    const source = sources[index];
    if (source === undefined) return;
    try {
      refuseUnreadable(source.descriptor);
      signal.throwIfAborted();
      const opening = this.#layers.openLayer(source);
      opened[index] = opening;
      const layer = await opening;
      await layer.whenReady({ signal });
    } catch (error) {
      throw ofLayer(toImgfsError(error, 'read layer'), source);
    }
  }

  #keep(tree: OpenTree, loaded: LoadedTree): void {
    const tables = new Set(loaded.layers.map((layer) => layer.table));
    tree.bytes = [...tables].reduce(
      (sum, table) => sum + table.memoryBytes,
      loaded.merged.nodeLimit * bytesPerNode,
    );
    tree.loaded = loaded;
    clearTimeout(tree.grace);
    this.#evict(tree);
  }

  #fail(tree: OpenTree, error: ImgfsError): void {
    const isLasting = (['integrity', 'invalid-content', 'unsupported', 'too-large'] as const).some((code) =>
      isImgfsError(error, code),
    );
    if (isLasting) this.#failures.set(tree.key, { error, until: Date.now() + failureMs });
    this.#drop(tree);
  }

  /** Let go of the least recently used until what is left is within bounds. */
  #evict(newest: OpenTree): void {
    const loaded = [...this.#trees.values()].filter((tree) => tree.loaded !== undefined);
    let bytes = loaded.reduce((sum, tree) => sum + tree.bytes, 0);
    let layers = loaded.reduce((sum, tree) => sum + (tree.loaded?.layers.length ?? 0), 0);
    for (const tree of loaded.toSorted((a, b) => a.usedAt - b.usedAt)) {
      if (bytes <= maxBytes && layers <= maxLayers) return;
      if (tree === newest) continue;
      bytes -= tree.bytes;
      layers -= tree.loaded?.layers.length ?? 0;
      this.#drop(tree);
    }
  }

  #drop(tree: OpenTree): void {
    clearTimeout(tree.grace);
    if (this.#trees.get(tree.key) === tree) this.#trees.delete(tree.key);
    tree.abort.abort(new ImgfsError('interrupted', 'read layers: nobody waits for them any more'));
  }

  #track(work: Promise<unknown>): void {
    this.#closing.add(work);
    void work.finally(() => this.#closing.delete(work));
  }
}

async function closeAll(opened: readonly (Promise<Layer> | undefined)[]): Promise<void> {
  for (const opening of opened) await (await opening?.catch(() => undefined))?.close();
}

/** The error, with the layer that it is about. */
function ofLayer(error: ImgfsError, source: LayerSource): ImgfsError {
  const { digest } = source.descriptor;
  if (error.context.digest !== undefined) return error;
  const { hint } = error;
  return new ImgfsError(error.code, `${error.message} (layer ${digest})`, {
    ...error.context,
    digest,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}
