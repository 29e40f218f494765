/**
 * The digest of a blob of which a part is on disk and the rest passes through memory, in order. It says whether a
 * reader that goes from the beginning to the end gets what the digest says. It never certifies the file: bytes that
 * passed are not the bytes that a later transfer may write.
 */
import type { Digest } from '../oci/digest.js';
import { readThroughBytes, verified } from './content-metrics.js';
import type { JournalKey } from './extent-journal.js';
import { sliceBuffers, totalLength } from './file-io.js';
import type { HelperPool } from './helper-pool.js';
import { StreamDigest } from './stream-digest.js';

export class PassingDigest {
  readonly #pool: HelperPool;
  readonly #key: JournalKey;
  #digest: StreamDigest | undefined;

  constructor(pool: HelperPool, key: JournalKey) {
    this.#pool = pool;
    this.#key = key;
  }

  /**
   * Take bytes `[start, end)` that pass; the file `fd` has all below `prefix`. Resolves to the digest of the whole
   * when these are its last bytes and all before have been seen in order; undefined otherwise.
   */
  async follow(
    start: number,
    end: number,
    buffers: readonly Uint8Array[],
    fd: number | undefined,
    prefix: number,
  ): Promise<Digest | undefined> {
    readThroughBytes.add(end - start);
    this.#digest ??= new StreamDigest(this.#pool, this.#key.digest);
    const digest = this.#digest;
    if (fd !== undefined) digest.advance(fd, prefix);
    if (digest.scheduled >= start && digest.scheduled < end) {
      const fresh = sliceBuffers(buffers, digest.scheduled - start, end - start);
      await digest.feed(Buffer.concat(fresh, totalLength(fresh)));
    }
    if (end !== this.#key.size || digest.scheduled !== end) return undefined;
    this.#digest = undefined;
    const actual = await digest.finish();
    if (actual === this.#key.digest) verified.add();
    return actual;
  }

  async drop(): Promise<void> {
    await this.#digest?.drop();
  }
}
