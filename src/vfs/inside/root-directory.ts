/** The root of a tree: a directory that is shown before its layers were looked at. */
import type { CallOptions } from '../../store/store.js';
import type { Name } from '../name.js';
import type { Found, MaybePromise, NodeStat, NodeXattrs } from '../node.js';
import { directoryStat } from '../nodes/answers.js';
import { EntryDirectory } from './entry-nodes.js';
import type { TreeView } from './tree-view.js';
import { lookupUnsettled } from './upper-nodes.js';

/** How long attributes hold that are not yet those of the image, in milliseconds: opening the directory makes them known. */
const placeholderMs = 0;

/** The number of the root in every merged tree. */
const rootNode = 0;

export class TreeRootDirectory extends EntryDirectory {
  readonly #mtimeNs: bigint;

  /** `mtimeNs` is shown until the image's own is known. */
  constructor(view: TreeView, mtimeNs: bigint) {
    super(view, rootNode);
    this.#mtimeNs = mtimeNs;
  }

  override get attrTtlMs(): number {
    return this.view.peek() === undefined ? placeholderMs : this.view.immutableMs;
  }

  /**
   * `ls -l` of an image directory must not fetch its layers. The time of change stays what it was at first: tar calls a
   * directory changed when it is another after the directory was read.
   */
  override stat(options: CallOptions): MaybePromise<NodeStat> {
    if (this.view.peek() === undefined) return directoryStat(this.#mtimeNs);
    const own = (stat: NodeStat): NodeStat => ({ ...stat, ctimeNs: this.#mtimeNs });
    const stat = super.stat(options);
    return stat instanceof Promise ? stat.then(own) : own(stat);
  }

  /** What upper layers settle does not wait for lower ones. */
  override lookup(name: Name, options: CallOptions): MaybePromise<Found> {
    const isWhole =
      this.view.peek() !== undefined || (this.view.spec.alone && !this.view.parts.trees.streams);
    if (isWhole) return super.lookup(name, options);
    return lookupUnsettled(this.view, '' as Name, name, options);
  }

  override xattrs(options: CallOptions): MaybePromise<NodeXattrs> {
    return this.view.peek() === undefined ? new Map() : super.xattrs(options);
  }
}
