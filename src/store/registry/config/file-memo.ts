/**
 * Parsed files, kept until the file changes. Logins and mirrors are re-read without a restart, and asking costs one
 * `stat` while nothing changed.
 */
import { LRUCache } from 'lru-cache';
import { readConfigFile, sameStamp, stampFile, type FileStamp } from './read-file.js';

/**
 * A file changed less than this long before it was read may change again within the same tick of its time stamps
 * (4 ms on Linux, 2 s on FAT and some network file systems) and keep its size; such a reading is not kept.
 */
const settledMs = 2_000;

/** Far more than any machine has of these files; it only bounds what a hostile set of host names could fill. */
const maxRemembered = 1_000;

interface Remembered<T> {
  readonly stamp: FileStamp;
  readonly value: T;
  /** The bytes read, where the stamp cannot be trusted yet. */
  readonly unsettled?: Buffer;
}

export interface FileMemo<T> {
  /**
   * The parsed file, or undefined when there is none. The same object is returned while the file is unchanged.
   * @throws ImgfsError `config`, also what `parse` throws. Failures are not kept.
   */
  read(path: string): Promise<T | undefined>;
}

/** How files are reached; a test puts a clock of its own behind it. */
export interface FileAccess {
  readonly readConfigFile: typeof readConfigFile;
  readonly stampFile: typeof stampFile;
}

/** Remembers what `parse` made of each file. */
export function createFileMemo<T extends object>(
  parse: (bytes: Buffer, path: string) => T,
  files: FileAccess = { readConfigFile, stampFile },
): FileMemo<T> {
  const memory = new LRUCache<string, Remembered<T>>({ max: maxRemembered });
  const isCurrent = async (known: Remembered<T>, path: string): Promise<boolean> => {
    if (known.unsettled !== undefined) return false;
    const stamp = await files.stampFile(path);
    return stamp !== undefined && sameStamp(stamp, known.stamp);
  };
  return {
    read: async (path) => {
      const known = memory.get(path);
      if (known !== undefined && (await isCurrent(known, path))) return known.value;
      const file = await files.readConfigFile(path);
      if (file === undefined) {
        memory.delete(path);
        return undefined;
      }
      const { bytes, stamp } = file;
      const value = known?.unsettled?.equals(bytes) === true ? known.value : parse(bytes, path);
      const settled = Date.now() - Number(stamp.changedNs / 1_000_000n) > settledMs;
      memory.set(path, settled ? { stamp, value } : { stamp, value, unsettled: bytes });
      return value;
    },
  };
}
