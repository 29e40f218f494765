/** `@tags/`: the tags of a repository and nothing else. */
import { nameToText, type Name } from '../name.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import type { DirectoryNode, Found, Listing, NodeStat } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, missing } from './answers.js';
import { tagFound } from './found-images.js';
import { asDirectories, tagNames } from './tag-streams.js';

export class TagsDirectory implements DirectoryNode {
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
    const tag = await this.#context.images.names.findTag(store, this.#repository, nameToText(name), options);
    return tag === undefined
      ? missing(this.#context.lifetimes.negativeMs)
      : tagFound(this.#context, store, tag);
  }

  async list(): Promise<Listing> {
    const store = await this.#open();
    const stream: Listing['stream'] = (start) =>
      asDirectories(tagNames(this.#context, store, this.#repository, start));
    return { children: [], stream, immutable: false };
  }
}
