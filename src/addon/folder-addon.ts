/** The addon's part that lists folders, as TypeScript sees it (native/src/folder-module.cc). */
import { loadAddon } from './load-addon.js';

declare const listingMark: unique symbol;

/** What was found in a folder, outside the heap. */
export interface FolderListing {
  readonly [listingMark]: true;
}

/** Entries of a listing, packed: 100,000 objects would take the receiver 400 ms to take apart. */
export interface PackedEntries {
  /** Names, one a line: entries whose name has a line break are left out. */
  readonly names: string;
  /** Bytes on disk: 512 × st_blocks, of a folder with those of its files. */
  readonly bytes: Float64Array;
  /** Last use: the later of access and modification time, in milliseconds since the epoch. */
  readonly usedMs: Float64Array;
}

export interface FolderAddon {
  /** The entry used longest ago comes first. A folder that is not there has none; what vanishes meanwhile is left out. */
  list(path: string): Promise<FolderListing>;
  count(listing: FolderListing): number;
  /** At most `count` entries from number `from` on. */
  part(listing: FolderListing, from: number, count: number): PackedEntries;
}

/** Undefined without the addon. */
export function folderAddon(): FolderAddon | undefined {
  return loadAddon().addon?.folder as FolderAddon | undefined;
}
