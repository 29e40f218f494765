/** `@uploads/`: what is written here goes to the repository as a blob. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, Listing, NodeStat, VfsNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import { placeKey } from '../writing/place-key.js';
import type { Writing } from '../writing/writing.js';
import { directoryStat, found, listed, missing } from './answers.js';
import type { UploadEntry } from '../writing/upload-entry.js';
import { BlobFile } from './blob-file.js';
import { SessionDirectory } from './session-directory.js';
import { UploadFile } from './upload-file.js';
import { WaitingFile } from './waiting-file.js';

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
    const text = nameToText(name);
    const entry = this.#entries(store).get(text);
    if (entry !== undefined) return found(this.#node(store, text, entry), 0);
    const waiting = this.#waiting(store, text);
    return waiting === undefined ? missing(0) : found(new WaitingFile(waiting), 0);
  }

  async list(): Promise<Listing> {
    const store = await this.#open();
    const entries = this.#entries(store);
    const uploads = [...entries].flatMap(([name, entry]) =>
      listed(name, found(this.#node(store, name, entry), 0)),
    );
    const waiting = this.#writing
      .waitingIn(store, this.#repository)
      .filter(({ shownAs }) => !entries.has(shownAs))
      .flatMap((item) => listed(item.shownAs, found(new WaitingFile(item), 0)));
    return { children: [...uploads, ...waiting], immutable: false };
  }

  #node(store: ImageStore, name: string, entry: UploadEntry): VfsNode {
    return entry.isSession
      ? new SessionDirectory(this.#context, store, entry)
      : new UploadFile(this.#context, store, entry, () => this.#start(store, name));
  }

  #waiting(store: ImageStore, name: string) {
    return this.#writing.waitingIn(store, this.#repository).find(({ shownAs }) => shownAs === name);
  }

  /** A session whose content comes in parts. */
  async mkdir(name: Name, caller: Caller): Promise<DirectoryNode> {
    const store = await this.#open();
    const text = nameToText(name);
    if (this.#entries(store).has(text)) throw new ImgfsError('exists', `mkdir ${text}: there is an upload`);
    const place = { store, repository: this.#repository, name: text, session: true };
    const entry = await this.#writing.table.start(this.#key(store), text, { ...place, ...expectedIn(text) });
    try {
      await entry.writer.begin({ signal: caller.signal });
    } catch (error) {
      await this.#forget(store, text, entry);
      throw error;
    }
    entry.onCommitted(async () => this.#writing.noteRepository(store, this.#repository));
    return new SessionDirectory(this.#context, store, entry);
  }

  /** Gives a session up; of one that is committed only the entry goes. */
  async rmdir(name: Name): Promise<void> {
    const store = await this.#open();
    const text = nameToText(name);
    const entry = this.#entries(store).get(text);
    if (entry === undefined) throw new ImgfsError('not-found', `session ${text}: there is none`);
    if (!entry.isSession) throw new ImgfsError('not-dir', `rmdir ${text}: it is a file`, { hint: 'rm it' });
    await this.#forget(store, text, entry);
  }

  async #forget(store: ImageStore, name: string, entry: UploadEntry): Promise<void> {
    await entry.cancel();
    this.#writing.table.forget(this.#key(store), name);
  }

  async create(name: Name, caller: Caller): Promise<Created> {
    const store = await this.#open();
    const text = nameToText(name);
    const entry = await this.#start(store, text);
    const node = new UploadFile(this.#context, store, entry, () => this.#start(store, text));
    return { node, file: node.handle(caller) };
  }

  async #start(store: ImageStore, name: string): Promise<UploadEntry> {
    const place = { store, repository: this.#repository, name, ...expectedIn(name) };
    const entry = await this.#writing.table.start(this.#key(store), name, place);
    entry.onCommitted(async () => this.#writing.noteRepository(store, this.#repository));
    return entry;
  }

  /** Cancels what is under way; of what is committed only the entry goes. */
  async unlink(name: Name): Promise<void> {
    const store = await this.#open();
    const text = nameToText(name);
    const entry = this.#entries(store).get(text);
    if (entry?.isSession === true)
      throw new ImgfsError('is-dir', `rm ${text}: it is a session`, { hint: 'rmdir it' });
    if (entry !== undefined) return this.#forget(store, text, entry);
    const waiting = this.#waiting(store, text);
    if (waiting === undefined) throw new ImgfsError('not-found', `upload ${text}: there is none`);
    await waiting.drop();
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
    if (entry.isSession)
      throw new ImgfsError('immutable', 'rename: the data of a session stays in it', {
        hint: 'write the digest into its file digest',
      });
    const to = nameToText(name);
    const { expected } = expectedIn(to);
    const digest = entry.committed?.descriptor.digest;
    if (expected !== undefined && digest !== undefined && digest !== expected)
      throw new ImgfsError('digest-mismatch', `rename to ${to}: the content is ${digest}`);
    if (!entry.isDone) await entry.writer.rename(to, expected);
    this.#writing.table.move(entry, this.#key(store), to);
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
  await context.writing?.arrived(store.id, repository, descriptor.digest, new Set());
  return found(new BlobFile(context, taken, { mtimeNs: context.mountTimeNs }), 0);
}
