/**
 * Trees of layers, open while they are in use: each is made once, however many look at it, and the least recently
 * used are let go when they take too much memory.
 */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { untilAborted } from '../../errors/aborted.js';
import type { Layer } from '../../layer/layer.js';
import type { LayerSource } from '../../layer/layer-source.js';
import type { LayerStore } from '../../layer/layer-store.js';
import { missingBlob } from '../../layer/missing-blob.js';
import { layerTree, mergeLayers } from '../../layer/merge/merge-layers.js';
import type { MergedTree } from '../../layer/merge/merged-tree.js';
import type { CallOptions } from '../../store/store.js';
import { refuseUnreadable } from './refuse-unreadable.js';
import { UpperLayers, type UpperTree } from './upper-layers.js';
import { WholeWalk } from './whole-walk.js';

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
  /** What upper layers settle while others are on their way, or when one of them failed. */
  readonly upper: UpperLayers;
  failure: ImgfsError | undefined;
  /** Until then nobody tries again. */
  failedUntil: number;
  bytes: number;
  waiters: number;
  usedAt: number;
  grace: NodeJS.Timeout | undefined;
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
  readonly #walks = new WeakMap<LoadedTree, WholeWalk>();
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

  /** Note that the file at `row` of a layer was opened in a tree. */
  noteOpen(loaded: LoadedTree, layer: number, row: number): void {
    const walk = this.#walks.get(loaded) ?? new WholeWalk(loaded.layers);
    this.#walks.set(loaded, walk);
    walk.note(layer, row);
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
    return this.#use(spec, (tree) => untilAborted(tree.loading, options.signal));
  }

  /**
   * `early` on the tree of the upper layers, again and again as more of them are ready, until it gives an answer; `use`
   * on the whole tree if that comes first.
   * @throws ImgfsError as `load`, when a layer failed and the layers above it do not settle it.
   */
  async settle<Value>(
    spec: TreeSpec,
    options: CallOptions,
    early: (upper: UpperTree) => Value | undefined,
    use: (loaded: LoadedTree) => Value | Promise<Value>,
  ): Promise<Value> {
    return this.#use(spec, async (tree) => {
      for (;;) {
        const { upper, loaded } = tree;
        if (loaded !== undefined) return use(loaded);
        const { version } = upper;
        const known = await untilAborted(upper.tree({ signal: tree.abort.signal }), options.signal);
        const answer = known === undefined ? undefined : early(known);
        if (answer !== undefined) return answer;
        if (upper.version !== version || tree.loaded !== undefined) continue;
        if (tree.failure !== undefined && (upper.isOver || tree.abort.signal.aborted)) throw tree.failure;
        await upper.changed(options.signal);
      }
    });
  }

  async #use<Value>(spec: TreeSpec, work: (tree: OpenTree) => Promise<Value>): Promise<Value> {
    const known = this.#trees.get(spec.key);
    if (known?.failure !== undefined && known.failedUntil <= Date.now()) this.#drop(known);
    const tree = this.#trees.get(spec.key) ?? this.#start(spec);
    this.#clock += 1;
    tree.usedAt = this.#clock;
    tree.waiters += 1;
    clearTimeout(tree.grace);
    try {
      return await work(tree);
    } finally {
      tree.waiters -= 1;
      if (tree.waiters === 0) this.#leave(tree);
    }
  }

  /** Nobody waits for a tree: what is not done goes on for a while. */
  #leave(tree: OpenTree): void {
    if (tree.loaded !== undefined || this.#trees.get(tree.key) !== tree) return;
    const left = tree.failure === undefined ? graceMs : tree.failedUntil - Date.now();
    if (left <= 0) this.#drop(tree);
    else tree.grace = setTimeout(() => this.#drop(tree), left).unref();
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
    const upper = new UpperLayers(spec.sources.length);
    const tree: OpenTree = {
      key: spec.key,
      abort,
      loading: this.#make(spec, opened, upper, abort.signal),
      loaded: undefined,
      upper,
      failure: undefined,
      failedUntil: 0,
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
    upper: UpperLayers,
    signal: AbortSignal,
  ): Promise<LoadedTree> {
    await this.#allReady(spec, opened, upper, signal);
    const layers = await Promise.all(opened.filter((layer) => layer !== undefined));
    const [only] = layers;
    const merged =
      spec.alone && only !== undefined
        ? await layerTree(only, { signal })
        : await mergeLayers(layers, { signal });
    return { merged, layers, rows: layers.map((layer) => layer.identity).join(' ') };
  }

  /** Names of a layer alone are shown as they arrive. */
  get streams(): boolean {
    return this.#layers.isDeferred;
  }

  /** Trees with a layer whose index was wrong are made anew by who looks next. */
  #dropOutdated(identity: string): void {
    for (const tree of this.#trees.values()) {
      if (tree.loaded?.layers.some((layer) => layer.identity === identity) === true) this.#drop(tree);
    }
  }

  /** Settles with the first failure; the layers above it go on getting ready. */
  #allReady(
    { sources, alone }: TreeSpec,
    opened: (Promise<Layer> | undefined)[],
    upper: UpperLayers,
    signal: AbortSignal,
  ): Promise<void> {
    const onOpened = (layer: Layer): void => {
      if (alone && this.streams) upper.grow(layer);
    };
    return new Promise((resolve, reject) => {
      let next = sources.length - 1;
      // The top layer first: what was changed last is what is looked at.
      const worker = async (): Promise<void> => {
        for (let index = next; index > upper.highestFailed && index >= 0; index = next) {
          next = index - 1;
          try {
            upper.ready(index, await this.#ready(sources, index, opened, onOpened, signal));
          } catch (error) {
            upper.failed(index);
            reject(toImgfsError(error));
          }
        }
      };
      const count = Math.min(parallelPasses, sources.length);
      Promise.all(Array.from({ length: count }, worker)).then(() => resolve(), reject);
    });
  }

  async #ready(
    sources: readonly LayerSource[],
    index: number,
    opened: (Promise<Layer> | undefined)[],
    onOpened: (layer: Layer) => void,
    signal: AbortSignal,
  ): Promise<Layer> {
    const source = sources[index];
    if (source === undefined) throw new ImgfsError('internal', 'a layer of no image');
    try {
      refuseUnreadable(source.descriptor);
      signal.throwIfAborted();
      const opening = this.#layers.openLayer(source);
      opened[index] = opening;
      const layer = await opening;
      onOpened(layer);
      await layer.whenReady({ signal });
      return layer;
    } catch (error) {
      throw ofLayer(toImgfsError(missingBlob(error, source.descriptor.digest), 'read layer'), source);
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
    tree.upper.wake();
    this.#evict(tree);
  }

  #fail(tree: OpenTree, error: ImgfsError): void {
    const isLasting = (['integrity', 'invalid-content', 'unsupported', 'too-large'] as const).some((code) =>
      isImgfsError(error, code),
    );
    tree.failure = error;
    tree.failedUntil = isLasting ? Date.now() + failureMs : 0;
    tree.upper.wake();
    if (tree.waiters === 0) this.#leave(tree);
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
