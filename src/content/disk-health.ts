/** Remembers that the cache disk refused something, so that not every window runs into the same wall. */
import { createLogger } from '../observe/log.js';
import { errorCode } from './file-io.js';

const log = createLogger('content');

/** A full disk is looked at again after so long: somebody may have made room. */
const pauseMs = 5000;
/** Freed at once when the disk, not the bound, is the limit. */
const freeBytes = 64 << 20;

export class DiskHealth {
  #troubledUntilMs = 0;

  usable(): boolean {
    return Date.now() >= this.#troubledUntilMs;
  }

  note(error: unknown): void {
    if (this.usable()) {
      log.warn('the cache disk cannot be used, reading through memory', {
        error: error instanceof Error ? error.message : String(error),
      });
    }
    this.#troubledUntilMs = Date.now() + pauseMs;
  }

  /** Evict when that can help. Resolves to the bytes freed. */
  async free(error: unknown, evict: (bytes: number) => Promise<number>): Promise<number> {
    const code = errorCode(error);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return 0;
    return evict(freeBytes);
  }
}
