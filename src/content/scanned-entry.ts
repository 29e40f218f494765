/** What a listing of a cache folder tells, and how it comes from another thread. */
import type { PackedEntries } from '../addon/folder-addon.js';

/** One entry of a cache folder: a file, or a folder with its files summed up. */
export interface ScannedEntry {
  readonly name: string;
  /** Bytes on disk: 512 × st_blocks. */
  readonly bytes: number;
  /** Last use: the later of access and modification time, in milliseconds since the epoch. */
  readonly usedMs: number;
}

/** Entries of a listing taken over in one turn: 0.5 ms, and 2 where two cores have a load of 20. */
export const partEntries = 250;

export function unpackEntries({ names, bytes, usedMs }: PackedEntries): ScannedEntry[] {
  return names
    .split('\n')
    .map((name, index) => ({ name, bytes: bytes[index] ?? 0, usedMs: usedMs[index] ?? 0 }));
}
