/** A manifest or an archive in the spool that waits, as a file of `@uploads/`. */
import type { FileNode, NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { KeptItem } from '../writing/writing.js';
import { fileStat, toNs } from './answers.js';

export class WaitingFile implements FileNode {
  readonly type = 'file';
  readonly version = 'waiting';
  readonly attrTtlMs = 0;
  readonly #item: KeptItem;

  constructor(item: KeptItem) {
    this.#item = item;
  }

  stat(): NodeStat {
    return fileStat(this.#item.size(), toNs(this.#item.startedAt));
  }

  xattrs(): NodeXattrs {
    const state: XattrReader = () => 'waiting';
    const waitsFor: XattrReader = () => this.#item.waitsFor();
    return new Map([
      ['user.imgfs.upload.state', state],
      ['user.imgfs.pending', waitsFor],
    ]);
  }

  open(): OpenFile {
    return {
      keepCache: false,
      directIo: true,
      read: (buffer, position) => this.#item.read(buffer, position),
      close: () => undefined,
    };
  }
}
