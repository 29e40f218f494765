/** `@tags/`: the tags of a repository and nothing else. */
import { nameToText, type Name } from '../name.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import type { Image } from '../../image/image.js';
import { join } from '../../image/name-finder.js';
import { isTag } from '../../oci/reference.js';
import type { DirectoryNode, Found, Listing, NodeStat } from '../node.js';
import type { ChangeableDirectory } from '../writable-node.js';
import { removeTagAt, tagImageAt, writingOf } from '../writing/tag-place.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { makePending, pendingAt } from './pending-directory.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, missing } from './answers.js';
import { tagFound } from './found-images.js';
import { asDirectories, tagNames } from './tag-streams.js';

export class TagsDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #open: () => Promise<ImageStore>;
  readonly #repository: string;

  constructor(context: TreeContext, open: () => Promise<ImageStore>, repository: string) {
    this.#context = context;
    this.#open = open;
    this.#repository = repository;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  async lookup(name: Name, options: CallOptions): Promise<Found> {
    const store = await this.#open();
    const pending = pendingAt(this.#context, store, join(this.#repository, nameToText(name)), options);
    if (pending !== undefined) return pending;
    const tag = await this.#context.images.names.findTag(store, this.#repository, nameToText(name), options);
    return tag === undefined
      ? missing(this.#context.lifetimes.negativeMs)
      : tagFound(this.#context, store, tag);
  }

  async mkdir(name: Name, caller: Caller): Promise<DirectoryNode> {
    const store = await this.#open();
    const tag = nameToText(name);
    if (!isTag(tag)) throw new ImgfsError('name-invalid', `${JSON.stringify(tag)} is not a tag`);
    const path = join(this.#repository, tag);
    const place = {
      store,
      repository: this.#repository,
      tag,
      path,
    };
    return makePending(this.#context, writingOf(this.#context), place, caller);
  }

  async rmdir(name: Name, caller: Caller): Promise<void> {
    await removeTagAt(this.#context, await this.#open(), this.#repository, nameToText(name), {
      signal: caller.signal,
    });
  }

  async tagImage(name: Name, image: Image, caller: Caller) {
    const { signal } = caller;
    return tagImageAt(this.#context, await this.#open(), this.#repository, nameToText(name), image, {
      signal,
    });
  }

  async assertRemovable({ signal }: Caller): Promise<void> {
    await writingOf(this.#context).assertTagMayGo(await this.#open(), this.#repository, { signal });
  }

  async list(): Promise<Listing> {
    const store = await this.#open();
    const stream: Listing['stream'] = (start) =>
      asDirectories(tagNames(this.#context, store, this.#repository, start));
    return { children: [], stream, immutable: false };
  }
}
