/** `layers/N.tar`: a layer as the archive it is when decoded; its digest is the layer's diffID. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../../store/store.js';
import type { FileNode, MaybePromise, NodeStat, NodeXattrs, OpenFile } from '../node.js';
import { fileStat } from '../nodes/answers.js';
import { openLayerFile } from './layer-file.js';
import type { TreeView } from './tree-view.js';

export class DecodedLayerFile implements FileNode {
  readonly type = 'file';
  readonly identity: string;
  readonly attrTtlMs: number;
  readonly #view: TreeView;
  readonly #mtimeNs: bigint;

  /** `view` is the layer alone. */
  constructor(view: TreeView, mtimeNs: bigint) {
    this.#view = view;
    this.#mtimeNs = mtimeNs;
    this.identity = `decoded ${view.source(0).descriptor.digest}`;
    this.attrTtlMs = view.immutableMs;
  }

  /** The size is known once the layer was gone through: it is waited for. */
  stat(options: CallOptions): MaybePromise<NodeStat> {
    const known = this.#view.peek()?.layers[0]?.decodedSize;
    return known === undefined ? this.#statWhenIndexed(options) : fileStat(known, this.#mtimeNs);
  }

  async #statWhenIndexed(options: CallOptions): Promise<NodeStat> {
    const { layers } = await this.#view.load(options);
    // An index that came with the image does not tell how long the archive is.
    await layers[0]?.whenIndexed(options);
    return fileStat(sizeOf(layers[0]?.decodedSize), this.#mtimeNs);
  }

  xattrs(): NodeXattrs {
    return new Map([
      ['user.oci.layer', () => this.#view.source(0).descriptor.digest],
      ['user.imgfs.layer', () => String(this.#view.firstLayer)],
      ['user.imgfs.verified', () => 'yes'],
    ]);
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const layer = await this.#view.openLayer(0, options);
    try {
      await layer.whenIndexed(options);
    } catch (error) {
      await layer.close();
      throw error;
    }
    const extent = { start: 0, size: sizeOf(layer.decodedSize) };
    return openLayerFile(layer, undefined, extent, (buffer, position, call) =>
      layer.readDecoded(buffer, position, call),
    );
  }
}

function sizeOf(size: number | undefined): number {
  if (size !== undefined) return size;
  throw new ImgfsError('internal', 'a layer is ready and its size is not known');
}
