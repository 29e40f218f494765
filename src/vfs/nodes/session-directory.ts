/**
 * An upload session as a directory, made with `mkdir @uploads/<name>`: its content arrives in parts, by as many
 * programs as it takes, and writing the digest commits it.
 *
 *     data          written and appended to; a close or fsync of it means "in the spool, on disk"
 *     digest        what is written here must be the content's digest, and its close means "in the store"
 *     uuid          the store's id of the session
 *     started_at    RFC 3339
 *     offset        bytes that the store has confirmed
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isDigest } from '../../oci/digest.js';
import type { ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import { nameToText, type Name } from '../name.js';
import type { Found, Listing, NodeStat, VfsNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { ChangeableDirectory, WritableFileNode } from '../writable-node.js';
import { ManifestHandle } from '../writing/manifest-handle.js';
import type { UploadEntry } from '../writing/upload-entry.js';
import { directoryStat, found, listed, missing, toNs } from './answers.js';
import { LiveFile, openBytes } from './bytes-file.js';
import { UploadFile } from './upload-file.js';

const names = ['data', 'uuid', 'started_at', 'offset', 'digest'] as const;

/** `sha512:` and 128 digits, and room for white space: more is no digest. */
const maxDigestBytes = 256;

export class SessionDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly version: string;
  readonly attrTtlMs = 0;
  readonly entry: UploadEntry;
  readonly #context: TreeContext;
  readonly #store: ImageStore;

  constructor(context: TreeContext, store: ImageStore, entry: UploadEntry) {
    this.#context = context;
    this.#store = store;
    this.entry = entry;
    this.version = `session ${entry.writer.state.id}`;
  }

  stat(): NodeStat {
    return directoryStat(toNs(this.entry.writer.state.startedAt));
  }

  lookup(name: Name): Found {
    const node = this.#child(nameToText(name));
    return node === undefined ? missing(0) : found(node, 0);
  }

  list(): Listing {
    const children = names.flatMap((name) => {
      const node = this.#child(name);
      return node === undefined ? [] : listed(name, found(node, 0));
    });
    return { children, immutable: false };
  }

  /** `rm -r` removes what is in a directory before the directory: only the latter gives the upload up. */
  async unlink(name: Name): Promise<void> {
    if (this.#child(nameToText(name)) === undefined)
      throw new ImgfsError('not-found', `rm ${nameToText(name)}: a session has no such file`);
  }

  #child(name: string): VfsNode | undefined {
    const { writer } = this.entry;
    const live = (text: () => string): VfsNode =>
      new LiveFile(
        async () => Buffer.from(text() === '' ? '' : `${text()}\n`),
        () => toNs(this.#context.now()),
      );
    switch (name) {
      case 'data':
        return new UploadFile(this.#context, this.#store, this.entry);
      case 'digest':
        return new SessionDigest(this.#context, this.entry);
      case 'uuid':
        return live(() => writer.sessionId ?? writer.state.id);
      case 'started_at':
        return live(() => new Date(writer.state.startedAt).toISOString());
      case 'offset':
        return live(() => String(writer.sentBytes));
      default:
        return undefined;
    }
  }
}

/** `digest` of a session: what the content is once it is committed; written to commit it. */
class SessionDigest implements WritableFileNode {
  readonly type = 'file';
  readonly attrTtlMs = 0;
  readonly #context: TreeContext;
  readonly #entry: UploadEntry;

  constructor(context: TreeContext, entry: UploadEntry) {
    this.#context = context;
    this.#entry = entry;
  }

  stat(): NodeStat {
    return this.#stat(this.#bytes().length);
  }

  open() {
    return openBytes(this.#bytes(), { directIo: true });
  }

  openForWriting(_flags: number, caller: Caller): ManifestHandle {
    this.#entry.assertUnfinished();
    return new ManifestHandle(caller, {
      stat: (size) => this.#stat(size),
      put: async (bytes) => this.#commit(bytes),
    });
  }

  async #commit(bytes: Uint8Array): Promise<void> {
    const text = Buffer.from(bytes.subarray(0, maxDigestBytes)).toString('latin1').trim();
    if (!isDigest(text))
      throw new ImgfsError('invalid', 'write digest: it is no digest', { hint: 'write sha256:<hex>' });
    const { writer } = this.#entry;
    await writer.rename(writer.state.name, text);
    await this.#entry.commit();
    await this.#entry.endSession();
  }

  #bytes(): Uint8Array {
    const { committed, writer } = this.#entry;
    const digest = committed?.descriptor.digest ?? writer.state.expected;
    return Buffer.from(digest === undefined ? '' : `${digest}\n`);
  }

  #stat(size: number): NodeStat {
    return { size, mode: 0o644, mtimeNs: toNs(this.#context.now()) };
  }
}
