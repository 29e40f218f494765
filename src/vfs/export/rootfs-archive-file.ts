/** `export/rootfs.tar`: the merged tree as one archive. */
import { rootfsArchive } from '../../image/export/rootfs-archive.js';
import { SingleFlight } from '../../image/single-flight.js';
import { FlatTar } from '../../layer/flatten/flat-tar.js';
import type { Layer } from '../../layer/layer.js';
import type { CallOptions } from '../../store/store.js';
import type { TreeView } from '../inside/tree-view.js';
import type { FileNode, MaybePromise, NodeStat, OpenFile } from '../node.js';
import { fileStat } from '../nodes/answers.js';

export class RootfsArchiveFile implements FileNode {
  readonly type = 'file';
  readonly identity: string;
  readonly attrTtlMs: number;
  readonly #view: TreeView;
  readonly #mtimeNs: bigint;
  readonly #flight = new SingleFlight<FlatTar>();
  #plan: FlatTar | undefined;

  constructor(view: TreeView, mtimeNs: bigint) {
    this.#view = view;
    this.#mtimeNs = mtimeNs;
    this.identity = `export rootfs ${view.spec.key}`;
    this.attrTtlMs = view.immutableMs;
  }

  get statIsDear(): boolean {
    return this.#plan === undefined;
  }

  /** Merges the layers the first time: the names in them make the size. */
  stat(options: CallOptions): MaybePromise<NodeStat> {
    const plan = this.#plan;
    if (plan !== undefined) return fileStat(plan.size, this.#mtimeNs);
    return this.#load(options).then(({ size }) => fileStat(size, this.#mtimeNs));
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const plan = await this.#load(options);
    const layers: Layer[] = [];
    const close = async (): Promise<void> => {
      await Promise.all(layers.splice(0).map((layer) => layer.close()));
    };
    try {
      for (const index of this.#view.spec.sources.keys())
        layers.push(await this.#view.openLayer(index, options));
    } catch (error) {
      await close();
      throw error;
    }
    const archive = rootfsArchive(plan, [...layers], close);
    return {
      keepCache: true,
      directIo: false,
      segments: {
        cover: async (range, signal, take) => archive.cover?.(range, take, { signal }),
      },
      read: (buffer, position, call) => archive.read(buffer, position, call),
      close: () => archive.close(),
    };
  }

  async #load(options: CallOptions): Promise<FlatTar> {
    this.#plan ??= await this.#flight.run('', options.signal, async (signal) => {
      const { merged } = await this.#view.load({ signal });
      return FlatTar.plan(merged, { signal });
    });
    return this.#plan;
  }
}
