/** `@uploads/`: what is written here goes to the repository as a blob. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { Found, Listing, NodeStat, VfsNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import { placeKey, type Writing } from '../writing/writing.js';
import { directoryStat, found, listed, missing } from './answers.js';
import { BlobFile } from './blob-file.js';
import { UploadFile } from './upload-file.js';

/** Name of the directory in a repository. */
export const uploadsName = '@uploads';

export class UploadsDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #writing: Writing;
  readonly #open: () => Promise<ImageStore>;
  readonly #repository: string;

  constructor(context: TreeContext, writing: Writing, open: () => Promise<ImageStore>, repository: string) {
    this.#context = context;
    this.#writing = writing;
    this.#open = open;
    this.#repository = repository;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  async lookup(name: Name): Promise<Found> {
    const store = await this.#open();
    const entry = this.#entries(store).get(nameToText(name));
    return entry === undefined ? missing(0) : found(new UploadFile(this.#context, store, entry), 0);
  }

  async list(): Promise<Listing> {
    const store = await this.#open();
    const children = [...this.#entries(store)].flatMap(([name, entry]) =>
      listed(name, found(new UploadFile(this.#context, store, entry), 0)),
    );
    return { children, immutable: false };
  }

  async create(name: Name, caller: Caller): Promise<Created> {
    const store = await this.#open();
    const text = nameToText(name);
    const entry = await this.#writing.table.start(this.#key(store), text, {
      store,
      repository: this.#repository,
      name: text,
      ...expectedIn(text),
    });
    entry.onCommitted(async () => this.#writing.noteRepository(store, this.#repository));
    const node = new UploadFile(this.#context, store, entry);
    return { node, file: node.handle(caller) };
  }

  /** Cancels what is under way; of what is committed only the entry goes. */
  async unlink(name: Name): Promise<void> {
    const store = await this.#open();
    const text = nameToText(name);
    const entry = this.#entries(store).get(text);
    if (entry === undefined) throw new ImgfsError('not-found', `upload ${text}: there is none`);
    await entry.cancel();
    this.#writing.table.forget(this.#key(store), text);
  }

  /** Take a blob of another repository of the store over, without moving a byte. */
  async linkBlob(name: Name, source: BlobSource, caller: Caller): Promise<Found> {
    const store = await this.#open();
    const text = nameToText(name);
    const { expected } = expectedIn(text);
    if (expected !== undefined && expected !== source.descriptor.digest)
      throw new ImgfsError('digest-mismatch', `link ${text}: it is ${source.descriptor.digest}`);
    return mountedBlob(this.#context, store, this.#repository, source, caller);
  }

  async adopt(name: Name, node: VfsNode): Promise<void> {
    const store = await this.#open();
    if (
      !(node instanceof UploadFile) ||
      node.store.id !== store.id ||
      node.entry.writer.state.repository !== this.#repository
    )
      throw new ImgfsError('cross-device', 'rename: not an upload of this repository');
    const { entry } = node;
    const from = entry.writer.state.name;
    const to = nameToText(name);
    const { expected } = expectedIn(to);
    const digest = entry.committed?.descriptor.digest;
    if (expected !== undefined && digest !== undefined && digest !== expected)
      throw new ImgfsError('digest-mismatch', `rename to ${to}: the content is ${digest}`);
    if (!entry.isDone) await entry.writer.rename(to, expected);
    this.#writing.table.move(this.#key(store), from, this.#key(store), to);
  }

  #entries(store: ImageStore) {
    return this.#writing.table.of(this.#key(store), store.id, this.#repository);
  }

  #key(store: ImageStore): string {
    return placeKey(store, `${this.#repository}/${uploadsName}`);
  }
}

/** The digest in a name such as `sha256:<hex>`. @throws ImgfsError `name-invalid` for one that is malformed. */
function expectedIn(name: string): { expected?: Digest } {
  if (isDigest(name)) return { expected: name };
  if (/^sha(256|512):/u.test(name))
    throw new ImgfsError('name-invalid', `upload ${nameFromText(name)}: the digest is malformed`);
  return {};
}

/** A blob of another repository of the store, mounted. @throws ImgfsError `cross-device` where it cannot be. */
export async function mountedBlob(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  source: BlobSource,
  caller: Caller,
): Promise<Found> {
  const { descriptor } = source;
  const isSame = source.store.id === store.id;
  const there =
    isSame &&
    (source.repository === repository ||
      (await assertPusher(store).mountBlob(repository, source.repository, descriptor.digest, {
        signal: caller.signal,
      })));
  if (!there) {
    throw new ImgfsError('cross-device', `link ${descriptor.digest}: the store would not take it over`, {
      digest: descriptor.digest,
      hint: 'copy it instead',
    });
  }
  const taken = { store, repository, descriptor };
  context.seen.add(taken);
  context.writing?.noteRepository(store, repository);
  return found(new BlobFile(context, taken, { mtimeNs: context.mountTimeNs }), 0);
}
