/**
 * A directory made with mkdir: a repository or a tag, whichever it is used as. `manifest.json`, `config.json` and
 * `layers/` in it make it a tag of the repository above; `@uploads/`, `@tags/` and directories make it a repository.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { join } from '../../image/name-finder.js';
import { isRepositoryName, isTag } from '../../oci/reference.js';
import type { CallOptions } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import { nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, Listing, ListedChild, NodeStat } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import { PendingImage, type DocumentName, type PendingPlace } from '../writing/pending-image.js';
import { isSameProcess, processOf } from '../writing/thread-group.js';
import type { UploadEntry } from '../writing/upload-entry.js';
import { placeKey } from '../writing/place-key.js';
import type { Writing } from '../writing/writing.js';
import { directoryStat, found, listed, missing, toNs } from './answers.js';
import { ArchiveFile, ArchiveUpload, archiveName } from '../writing/archive-upload.js';
import { PendingDocument } from './pending-document.js';
import { UploadFile } from './upload-file.js';

const documentNames: ReadonlySet<string> = new Set<DocumentName>(['manifest.json', 'index.json']);

export class PendingDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly version = 'pending';
  readonly attrTtlMs = 0;
  readonly image: PendingImage;
  readonly #context: TreeContext;
  readonly #writing: Writing;

  constructor(context: TreeContext, writing: Writing, image: PendingImage) {
    this.#context = context;
    this.#writing = writing;
    this.image = image;
  }

  stat(): NodeStat {
    return directoryStat(toNs(this.#context.now()));
  }

  async lookup(name: Name, options: CallOptions): Promise<Found> {
    const text = nameToText(name);
    // It has become a repository, or a tag that is looked up by its path: who is in it still sees what is there.
    const repository =
      this.#writing.pending.get(this.image.key) === this.image ? undefined : this.#asRepository();
    if (repository !== undefined && this.image.documentNames().length === 0)
      return repository.lookup(name, options);
    const { archive } = this.image;
    // Nothing more is to come than what the archive had.
    if (archive?.isLoaded === true) return this.#inImage(name, options);
    if (documentNames.has(text)) {
      return this.image.has(text as DocumentName)
        ? found(new PendingDocument(this.#context, this.image, text as DocumentName), 0)
        : missing(0);
    }
    if (text === 'layers') return this.image.hasLayers ? found(this.#layers(), 0) : missing(0);
    if (text === archiveName) return archive === undefined ? missing(0) : found(new ArchiveFile(archive), 0);
    if (this.image.isDone && text !== 'config.json') return this.#inImage(name, options);
    const upload = this.#upload(text);
    if (upload !== undefined) return found(upload, 0);
    if (text.startsWith('@')) return (await this.#asRepository()?.lookup(name, options)) ?? missing(0);
    const nested = pendingAt(
      this.#context,
      this.image.place.store,
      join(this.image.place.path, text),
      options,
    );
    return nested ?? missing(0);
  }

  /** What the finished image has: its maker may look at it between two files. */
  async #inImage(name: Name, options: CallOptions): Promise<Found> {
    const { store, repository, tag, digest } = this.image.place;
    const target = digest === undefined ? { repository, tag: tag ?? '' } : { repository, digest };
    const { descriptor } = await this.#context.images.tags.resolve(store, target, options);
    const named = tag === undefined ? {} : { tag };
    const image = this.#context.images.at({ store, repository, descriptor, ...named });
    return this.#context.imageNode(image).lookup(name, options);
  }

  list(): Listing {
    const children: ListedChild[] = this.image
      .documentNames()
      .flatMap((name) => listed(name, found(new PendingDocument(this.#context, this.image, name), 0)));
    const { archive } = this.image;
    if (archive?.isLoaded === false)
      children.push(...listed(archiveName, found(new ArchiveFile(archive), 0)));
    const config = this.#upload('config.json');
    if (config !== undefined) children.push(...listed('config.json', found(config, 0)));
    if (this.image.hasLayers) children.push(...listed('layers', found(this.#layers(), 0)));
    const prefix = placeKey(this.image.place.store, `${this.image.place.path}/`);
    for (const [key, nested] of this.#writing.pending) {
      const rest = key.startsWith(prefix) ? key.slice(prefix.length) : '/';
      if (rest.includes('/')) continue;
      children.push(...listed(rest, found(new PendingDirectory(this.#context, this.#writing, nested), 0)));
    }
    return { children, immutable: false };
  }

  async create(name: Name, caller: Caller): Promise<Created> {
    const text = nameToText(name);
    this.image.assertImagePossible();
    if (documentNames.has(text)) {
      this.image.begin(text as DocumentName);
      const node = new PendingDocument(this.#context, this.image, text as DocumentName);
      return { node, file: node.openForWriting(0, caller) };
    }
    if (text === archiveName) return this.#createArchive(caller);
    if (text === 'config.json') return startUpload(this.#context, this.#writing, this.image, text, caller);
    throw new ImgfsError(
      'forbidden',
      `create ${text}: an image directory takes manifest.json, index.json, config.json and layers/, or image.tar`,
      {
        hint: 'blobs go to @uploads/ of the repository',
      },
    );
  }

  /** An archive, to be loaded when it is closed. */
  async #createArchive(caller: Caller): Promise<Created> {
    const { image } = this;
    const { store, repository, tag } = image.place;
    if (tag === undefined)
      throw new ImgfsError('forbidden', `create ${archiveName}: an archive is loaded under a tag`);
    const archive = await ArchiveUpload.begin(this.#writing, { store, repository, tag }, () => {
      image.touch();
      image.isDone = true;
    });
    image.archive = archive;
    const node = new ArchiveFile(archive);
    return { node, file: node.openForWriting(0, caller) };
  }

  async mkdir(name: Name, caller: Caller): Promise<DirectoryNode> {
    const text = nameToText(name);
    if (text === 'layers') {
      this.image.touch();
      this.image.assertImagePossible();
      this.image.hasLayers = true;
      return this.#layers();
    }
    const { store, path } = this.image.place;
    return makePending(this.#context, this.#writing, pendingPlace(store, path, text), caller);
  }

  async rmdir(name: Name): Promise<void> {
    const text = nameToText(name);
    if (text === 'layers') {
      this.image.hasLayers = false;
      return;
    }
    await removePending(this.#writing, placeKey(this.image.place.store, join(this.image.place.path, text)));
  }

  async unlink(name: Name): Promise<void> {
    const text = nameToText(name);
    if (documentNames.has(text) && !this.image.isDone) {
      await this.image.drop(text as DocumentName);
      return;
    }
    if (text === archiveName && this.image.archive !== undefined) {
      await this.image.archive.drop();
      this.image.archive = undefined;
      return;
    }
    const entry = this.#writing.table.begunIn(this.image.key).get(text);
    if (entry === undefined)
      throw new ImgfsError('forbidden', `rm ${text}: rmdir the directory to give the image up`);
    await entry.cancel();
    this.#writing.table.forget(this.image.key, text);
  }

  #upload(name: string): UploadFile | undefined {
    const entry = this.#writing.table.begunIn(this.image.key).get(name);
    return entry === undefined
      ? undefined
      : uploadNode(this.#context, this.#writing, this.image, name, entry);
  }

  #layers(): PendingLayers {
    return new PendingLayers(this.#context, this.#writing, this.image);
  }

  /** What it is when it is used as a repository. */
  #asRepository(): DirectoryNode | undefined {
    const { store, path } = this.image.place;
    const host = store.transport === 'docker' ? store.id.replace(/^docker:\/\//, '') : undefined;
    if (host !== undefined && !isRepositoryName(path)) return undefined;
    return this.#context.repositoryNode(store, path, host);
  }
}

/** `layers/` of an image in the making: each file is a blob of the repository. */
class PendingLayers implements ChangeableDirectory {
  readonly type = 'directory';
  readonly version = 'pending';
  readonly attrTtlMs = 0;
  readonly #context: TreeContext;
  readonly #writing: Writing;
  readonly #image: PendingImage;

  constructor(context: TreeContext, writing: Writing, image: PendingImage) {
    this.#context = context;
    this.#writing = writing;
    this.#image = image;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  lookup(name: Name): Found {
    const entry = this.#writing.table.begunIn(this.#image.key).get(`layers/${nameToText(name)}`);
    return entry === undefined
      ? missing(0)
      : found(uploadNode(this.#context, this.#writing, this.#image, `layers/${nameToText(name)}`, entry), 0);
  }

  list(): Listing {
    const children = [...this.#writing.table.begunIn(this.#image.key)].flatMap(([name, entry]) =>
      name.startsWith('layers/')
        ? listed(name.slice(7), found(uploadNode(this.#context, this.#writing, this.#image, name, entry), 0))
        : [],
    );
    return { children, immutable: false };
  }

  create(name: Name, caller: Caller): Promise<Created> {
    return startUpload(this.#context, this.#writing, this.#image, `layers/${nameToText(name)}`, caller);
  }

  async unlink(name: Name): Promise<void> {
    const text = `layers/${nameToText(name)}`;
    await this.#writing.table.begunIn(this.#image.key).get(text)?.cancel();
    this.#writing.table.forget(this.#image.key, text);
  }
}

async function startUpload(
  context: TreeContext,
  writing: Writing,
  image: PendingImage,
  name: string,
  caller: Caller,
): Promise<Created> {
  const node = uploadNode(context, writing, image, name, await startEntry(writing, image, name));
  return { node, file: node.handle(caller) };
}

async function startEntry(writing: Writing, image: PendingImage, name: string): Promise<UploadEntry> {
  const { store, repository } = image.place;
  const entry = await writing.table.start(image.key, name, { store, repository, name });
  image.touch();
  entry.onCommitted(async () => image.touch());
  return entry;
}

function uploadNode(
  context: TreeContext,
  writing: Writing,
  image: PendingImage,
  name: string,
  entry: UploadEntry,
): UploadFile {
  return new UploadFile(context, image.place.store, entry, () => startEntry(writing, image, name));
}

/** Where a directory of this name below `parent` would be: a tag of it, a repository below it, or both. */
export function pendingPlace(store: PendingPlace['store'], parent: string, name: string): PendingPlace {
  const path = join(parent, name);
  const isLocal = store.transport !== 'docker';
  const tagPossible = isTag(name) && (isLocal || parent !== '');
  if (!tagPossible && !(isLocal || isRepositoryName(path)))
    throw new ImgfsError('name-invalid', `mkdir ${name}: neither a tag nor the name of a repository`, {
      hint: 'repository names are lower case; tags have letters, digits, . _ and -',
    });
  return { store, repository: parent, path, ...(tagPossible ? { tag: name } : {}) };
}

/** Make the directory. @throws ImgfsError `exists`. */
export async function makePending(
  context: TreeContext,
  writing: Writing,
  place: PendingPlace,
  caller: Pick<Caller, 'pid'>,
): Promise<PendingDirectory> {
  // While it waits for the answer it is there to be looked at.
  const image = new PendingImage(writing, place, {
    thread: caller.pid,
    process: await processOf(caller.pid),
  });
  if (writing.pending.get(image.key)?.isDone === false)
    throw new ImgfsError('exists', `mkdir ${place.path}: it is there`);
  for (const [key, other] of writing.pending)
    if (other.isDone && Date.now() - other.touchedAt > copyPauseMs) writing.pending.delete(key);
  writing.pending.set(image.key, image);
  return new PendingDirectory(context, writing, image);
}

/** Between two files of a copy: reading one from a slow source takes longer, but then the next was begun already. */
const copyPauseMs = 1_000;

/**
 * The directory at a path, if one was made there and is no image yet. Who made it sees it for as long as it copies: a
 * file that it has not written yet must not be there, although the image has one.
 */
export function pendingAt(
  context: TreeContext,
  store: PendingPlace['store'],
  path: string,
  options: CallOptions,
): Found | undefined {
  const image = context.writing?.pending.get(placeKey(store, path));
  if (context.writing === undefined || image === undefined) return undefined;
  const pid = (options as Partial<Caller>).pid ?? 0;
  const mayCopyStill = isSameProcess(pid, image.maker) && Date.now() - image.touchedAt < copyPauseMs;
  if (image.isDone && (pid < 0 || !mayCopyStill)) return undefined;
  return found(new PendingDirectory(context, context.writing, image), 0);
}

/** Take it away again, with what was written into it; false when there is none, or an image by now. */
export async function removePending(writing: Writing, key: string): Promise<boolean> {
  const image = writing.pending.get(key);
  if (image === undefined) return false;
  writing.pending.delete(key);
  for (const name of image.documentNames()) await image.drop(name);
  await image.archive?.drop();
  for (const [name, entry] of writing.table.begunIn(key)) {
    await entry.cancel();
    writing.table.forget(key, name);
  }
  return !image.isDone;
}
