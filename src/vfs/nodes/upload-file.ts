/** An upload as a file: what is written of it so far, and once it is committed what the store has. */
import { constants } from 'node:fs';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import type { NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { accessModeMask, type WritableFileNode } from '../writable-node.js';
import { UploadHandle } from '../writing/upload-handle.js';
import type { UploadEntry } from '../writing/upload-entry.js';
import { toNs } from './answers.js';
import { BlobFile } from './blob-file.js';

/** Its owner writes it; others may not even read what is not published yet. */
const uploadMode = 0o644;

export class UploadFile implements WritableFileNode {
  readonly type = 'file';
  readonly version: string;
  /** Size and state change under the kernel's eyes. */
  readonly attrTtlMs = 0;
  entry: UploadEntry;
  readonly store: ImageStore;
  readonly #context: TreeContext;
  readonly #renew: (() => Promise<UploadEntry>) | undefined;

  /** `renew` begins another upload in its place: for who empties one that is committed, to write it anew. */
  constructor(
    context: TreeContext,
    store: ImageStore,
    entry: UploadEntry,
    renew?: () => Promise<UploadEntry>,
  ) {
    this.#context = context;
    this.store = store;
    this.entry = entry;
    this.#renew = renew;
    this.version = `upload ${entry.writer.state.id}`;
  }

  stat(): NodeStat {
    const { startedAt } = this.entry.writer.state;
    return { size: this.entry.size, mode: uploadMode, mtimeNs: toNs(startedAt) };
  }

  xattrs(): NodeXattrs {
    const { writer } = this.entry;
    const { state } = writer;
    return new Map<string, XattrReader>([
      ['user.oci.digest', () => this.entry.committed?.descriptor.digest],
      ['user.oci.size', () => this.entry.committed?.descriptor.size.toString()],
      [
        'user.imgfs.upload.state',
        () => (this.entry.committed === undefined ? writer.state.phase : 'committed'),
      ],
      ['user.imgfs.upload.how', () => this.entry.committed?.kind],
      ['user.imgfs.upload.id', () => state.id],
      ['user.imgfs.upload.session', () => writer.sessionId],
      ['user.imgfs.upload.offset', () => String(writer.sentBytes)],
      ['user.imgfs.upload.started', () => new Date(state.startedAt).toISOString()],
      ['user.imgfs.upload.error', () => writer.state.error],
    ]);
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const { committed } = this.entry;
    if (this.entry.isDone && committed !== undefined) {
      const { repository } = this.entry.writer.state;
      const source = { store: this.store, repository, descriptor: committed.descriptor };
      return new BlobFile(this.#context, source, { mtimeNs: this.stat().mtimeNs }).open(options);
    }
    return {
      keepCache: false,
      directIo: true,
      read: (buffer, position) => this.entry.writer.read(buffer, position),
      close: () => undefined,
    };
  }

  openForWriting(flags: number, caller: Caller): UploadHandle {
    if ((flags & accessModeMask) === constants.O_RDONLY)
      throw new ImgfsError('internal', 'open for writing without a wish to write');
    if (this.#renew === undefined || (flags & constants.O_APPEND) !== 0) this.entry.assertUnfinished();
    return this.handle(caller, (flags & constants.O_APPEND) !== 0);
  }

  /** A handle on it, as for the one who creates it. */
  handle(caller: Caller, append = false): UploadHandle {
    const { storeId, repository } = this.entry.writer.state;
    return new UploadHandle(this.entry, caller, {
      stat: () => this.stat(),
      storeId,
      repository,
      append,
      ...(this.#renew === undefined ? {} : { renew: () => this.#replace() }),
    });
  }

  async #replace(): Promise<UploadEntry> {
    if (this.#renew !== undefined && this.entry.isDone) this.entry = await this.#renew();
    return this.entry;
  }
}
