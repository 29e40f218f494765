/** `manifest.json` or `index.json` of an image in the making. */
import type { Caller } from '../file-system.js';
import type { NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { WritableFileNode } from '../writable-node.js';
import { ManifestHandle } from '../writing/manifest-handle.js';
import type { DocumentName, PendingImage } from '../writing/pending-image.js';
import { toNs } from './answers.js';
import { copyAt } from './bytes-file.js';

export class PendingDocument implements WritableFileNode {
  readonly type = 'file';
  readonly version = 'pending';
  readonly attrTtlMs = 0;
  readonly #context: TreeContext;
  readonly #image: PendingImage;
  readonly #name: DocumentName;

  constructor(context: TreeContext, image: PendingImage, name: DocumentName) {
    this.#context = context;
    this.#image = image;
    this.#name = name;
  }

  stat(): NodeStat {
    return this.#stat(this.#image.document(this.#name)?.bytes.length ?? 0);
  }

  xattrs(): NodeXattrs {
    const waitsFor: XattrReader = () => this.#image.document(this.#name)?.waitsFor;
    return new Map([['user.imgfs.pending', waitsFor]]);
  }

  open(): OpenFile {
    const bytes = this.#image.document(this.#name)?.bytes ?? new Uint8Array(0);
    return {
      keepCache: false,
      directIo: true,
      read: (buffer, position) => copyAt(bytes, buffer, position),
      close: () => undefined,
    };
  }

  openForWriting(_flags: number, caller: Caller): ManifestHandle {
    return new ManifestHandle(caller, {
      stat: (size) => this.#stat(size),
      before: async () => this.#image.document(this.#name)?.bytes ?? new Uint8Array(0),
      put: (bytes, { signal }) => this.#image.write(this.#name, bytes, { signal }),
      confirm: (closer, operation) => this.#image.confirm(this.#name, closer, operation),
    });
  }

  #stat(size: number): NodeStat {
    return { size, mode: 0o644, mtimeNs: toNs(this.#context.now()) };
  }
}
