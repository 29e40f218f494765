/** Hands whole directories over to the addon, which answers there from then on. */
import type { SharedFile } from '../../content/shared-file.js';
import { Turns } from '../../layer/turns.js';
import type { Caller, DirectoryEntry, FileSystem, Inode } from '../../vfs/file-system.js';
import type { AddonSession } from './addon-fuse.js';
import { EntryPacker } from './packed-entry.js';

/** Longer directories are left alone: 4096 entries are 8 ms of JavaScript, in turns. */
const maxEntries = 4096;
/** Between two looks at the clock: an entry takes 2 µs, and 30 before V8 has optimized it. */
const entriesPerPage = 64;

export class DirectoryLister {
  readonly #fileSystem: FileSystem;
  readonly #numberOf: (file: SharedFile) => number;
  readonly #timeoutMs: number;
  #deadline: { readonly signal: AbortSignal; readonly renewAt: number } | undefined;

  constructor(fileSystem: FileSystem, numberOf: (file: SharedFile) => number, timeoutMs: number) {
    this.#fileSystem = fileSystem;
    this.#numberOf = numberOf;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * List a directory to its end and hand it over. Undefined when it is not at hand, may change, is too long, or is known
   * to the addon already. Who lists many counts all of them in the same `turns`. @throws what the file system throws.
   */
  async list(
    session: AddonSession,
    directory: Inode,
    { uid, gid, pid }: Caller,
    turns = new Turns(),
  ): Promise<readonly DirectoryEntry[] | undefined> {
    // What is not at hand might ask a registry for its tags.
    if (this.#fileSystem.listsAtOnce?.(directory) !== true) return undefined;
    const caller = { uid, gid, pid, signal: this.#signal() };
    const { handle, keepCache, complete } = await this.#fileSystem.opendir(caller, directory);
    let entries: readonly DirectoryEntry[] = [];
    let isTaken = false;
    try {
      if (!keepCache || complete !== true) return undefined;
      const read = await this.#readAll(caller, directory, handle, turns);
      entries = read.entries;
      if (!read.isWhole) return undefined;
      const packed = await this.#pack(entries, turns);
      isTaken = session.putListing(directory, packed.bytes, packed.length);
      return isTaken ? entries : undefined;
    } finally {
      if (!isTaken) this.#giveBack(entries);
      await this.#fileSystem.releasedir(handle);
    }
  }

  /** Of half the time at least: a timer for each of 1,500 directories costs as much as listing them. */
  #signal(): AbortSignal {
    const now = performance.now();
    if (this.#deadline === undefined || now >= this.#deadline.renewAt) {
      const signal = AbortSignal.timeout(this.#timeoutMs);
      this.#deadline = { signal, renewAt: now + this.#timeoutMs / 2 };
    }
    return this.#deadline.signal;
  }

  async #readAll(
    caller: Caller,
    directory: Inode,
    handle: Awaited<ReturnType<FileSystem['opendir']>>['handle'],
    turns: Turns,
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly isWhole: boolean }> {
    const entries: DirectoryEntry[] = [];
    for (let cookie = 0n; ;) {
      const options = { limit: entriesPerPage, plus: true };
      const page = await this.#fileSystem.readdir(caller, directory, handle, cookie, options);
      entries.push(...page.entries);
      if (page.end || page.entries.length === 0) return { entries, isWhole: true };
      if (entries.length + entriesPerPage > maxEntries) return { entries, isWhole: false };
      cookie = page.entries.at(-1)?.next ?? 0n;
      // What is at hand is answered in the same turn: others want theirs.
      if (turns.step(page.entries.length)) await turns.yield();
    }
  }

  /** In turns: the thousands of entries of a package database took 13 ms of a thread that had packed few before. */
  async #pack(entries: readonly DirectoryEntry[], turns: Turns): Promise<EntryPacker> {
    const packed = new EntryPacker(this.#numberOf, entries.length * 136);
    for (const entry of entries) {
      packed.add(entry);
      if (turns.step(2)) await turns.yield();
    }
    return packed;
  }

  #giveBack(entries: readonly DirectoryEntry[]): void {
    for (const { entry } of entries) {
      if (entry !== undefined) this.#fileSystem.forget(entry.attributes.inode, 1);
    }
  }
}
