/** A manifest in the spool that waits for what it names, as a file of `@uploads/`. */
import type { CallOptions } from '../../store/store.js';
import type { FileNode, NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { DocumentName, PendingImage } from '../writing/pending-image.js';
import { fileStat, toNs } from './answers.js';
import { openBytes } from './bytes-file.js';

export class WaitingManifest implements FileNode {
  readonly type = 'file';
  readonly version = 'waiting';
  readonly attrTtlMs = 0;
  readonly #image: PendingImage;
  readonly #name: DocumentName;
  readonly #startedAt: number;

  constructor(image: PendingImage, name: DocumentName, startedAt: number) {
    this.#image = image;
    this.#name = name;
    this.#startedAt = startedAt;
  }

  stat(): NodeStat {
    return fileStat(this.#bytes().length, toNs(this.#startedAt));
  }

  xattrs(): NodeXattrs {
    const state: XattrReader = () => 'waiting';
    const waitsFor: XattrReader = () => this.#image.document(this.#name)?.waitsFor;
    return new Map([
      ['user.imgfs.upload.state', state],
      ['user.imgfs.pending', waitsFor],
    ]);
  }

  open(_options: CallOptions): OpenFile {
    return openBytes(this.#bytes(), { directIo: true });
  }

  #bytes(): Uint8Array {
    return this.#image.document(this.#name)?.bytes ?? new Uint8Array(0);
  }
}
