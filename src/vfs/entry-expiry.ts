/**
 * Telling the kernel that a tag moved: for each tag the entries that stand for it are remembered, and expired when
 * the tag is found to name something else.
 *
 * Never from inside an operation: the kernel may hold the directory locked until that is answered
 * (research/fuse-limits.md P1). Expiry waits for the operation that noticed, and a turn of the event loop.
 */
import { LRUCache } from 'lru-cache';
import type { MovedTag, TagResolver } from '../image/tag-resolver.js';
import type { Inode, Notifier } from './file-system.js';
import type { Name } from './name.js';
import { tagWatchKey } from './node.js';

interface WatchedEntry {
  readonly parent: Inode;
  readonly name: Name;
}

/** Tags looked up lately; one forgotten here is still asked again when its time to live is over. */
const maxWatched = 10_000;

/** A tag shows up under its repository, under `@tags`, and as `<repo>:<tag>`, each under perhaps two hosts. */
const maxEntriesPerTag = 8;

export class EntryExpiry {
  // `max` would make room for all of them now.
  readonly #watched = new LRUCache<string, readonly WatchedEntry[]>({
    maxSize: maxWatched,
    sizeCalculation: () => 1,
  });
  readonly #stop: () => void;
  #notifier: Notifier | undefined;

  constructor(tags: TagResolver) {
    this.#stop = tags.onMoved((moved) => this.#moved(moved));
  }

  attach(notifier: Notifier): void {
    this.#notifier = notifier;
  }

  /** The entry stands for the tag of this key. */
  watch(key: string, parent: Inode, name: Name): void {
    const known = this.#watched.get(key) ?? [];
    if (known.some((entry) => entry.parent === parent && entry.name === name)) return;
    this.#watched.set(key, [...known, { parent, name }].slice(-maxEntriesPerTag));
  }

  close(): void {
    this.#stop();
    this.#notifier = undefined;
  }

  #moved({ storeId, repository, tag }: MovedTag): void {
    const entries = this.#watched.get(tagWatchKey(storeId, repository, tag)) ?? [];
    if (entries.length === 0) return;
    setImmediate(() => {
      for (const { parent, name } of entries) this.#notifier?.expireEntry(parent, name);
    });
  }
}
