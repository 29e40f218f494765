/**
 * The digest of a blob, computed while its bytes arrive in whatever order.
 *
 * It follows the end of the gapless beginning of the file: as soon as that moves, the new part is hashed from
 * disk by another thread, so the whole is known moments after the last byte. Hashing what the disk has, not what
 * the network gave, is what makes the file trustworthy. Bytes that are in memory only can be fed in between, and a
 * receiver in the addon goes on with the very bytes that it has just written (`handle`).
 */
import type { DigestHandle } from '../addon/receive-addon.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import { digestAlgorithm, type Digest } from '../oci/digest.js';
import type { HelperPool, RemoteDigester } from './helper-pool.js';
import { nativeDigester, type NativeDigester } from './native-digester.js';

/** One piece of work: 10 ms with SHA instructions, 64 ms without, after which another blob gets its turn. */
const sliceBytes = 16 << 20;

type Work = { readonly fd: number; end: number } | { readonly bytes: Uint8Array };

export class StreamDigest {
  readonly #pool: HelperPool;
  readonly #digest: Digest;
  readonly #work: Work[] = [];
  #digester: RemoteDigester | undefined;
  #native: NativeDigester | undefined;
  #scheduled = 0;
  #hashed = 0;
  #running: Promise<void> = Promise.resolve();
  #active = false;
  #failure: Error | undefined;
  #dropped = false;

  constructor(pool: HelperPool, digest: Digest) {
    this.#pool = pool;
    this.#digest = digest;
  }

  /** Everything below this offset is hashed or will be. */
  get scheduled(): number {
    return Math.max(this.#scheduled, this.#native?.position ?? 0);
  }

  /** For a receiver that goes on with it; undefined where the addon cannot. */
  get handle(): DigestHandle | undefined {
    if (!this.#dropped) this.#open();
    return this.#native?.handle;
  }

  #open(): RemoteDigester {
    if (this.#digester !== undefined) return this.#digester;
    const algorithm = digestAlgorithm(this.#digest);
    this.#native = nativeDigester(algorithm);
    this.#digester = this.#native ?? this.#pool.digester(algorithm);
    return this.#digester;
  }

  /** Hash the file up to `end`, which must be there without gaps. */
  advance(fd: number, end: number): void {
    if (end <= this.scheduled || this.#dropped || this.#failure !== undefined) return;
    this.#scheduled = end;
    const last = this.#work.at(-1);
    if (last !== undefined && 'fd' in last && last.fd === fd) last.end = end;
    else this.#work.push({ fd, end });
    this.#start();
  }

  /** Hash bytes that begin at `scheduled`. Resolves when they are no longer needed. */
  async feed(bytes: Uint8Array): Promise<void> {
    if (this.#dropped || this.#failure !== undefined) return;
    this.#scheduled = this.scheduled + bytes.length;
    this.#work.push({ bytes });
    this.#start();
    await this.#running;
  }

  #start(): void {
    if (this.#active) return;
    this.#active = true;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    try {
      const digester = this.#open();
      for (let item = this.#work[0]; item !== undefined && !this.#dropped; item = this.#work[0]) {
        if ('bytes' in item) {
          await digester.feed(item.bytes);
          this.#hashed = this.#native?.position ?? this.#hashed + item.bytes.length;
        } else {
          this.#hashed = this.#native?.position ?? this.#hashed;
          const end = Math.min(item.end, this.#hashed + sliceBytes);
          const reached = await digester.hashFile(item.fd, this.#hashed, end);
          if (reached < end) throw new Error(`file ends at ${reached} instead of ${end}`);
          this.#hashed = reached;
          // `end` may have moved while we waited.
          if (this.#hashed < item.end) continue;
        }
        this.#work.shift();
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#work.length = 0;
    } finally {
      // In the same turn as the last look at the work: none can slip in between.
      this.#active = false;
    }
  }

  /** Resolves when no file is being read any more: only then may its descriptor be closed. */
  async idle(): Promise<void> {
    while (this.#active) await this.#running;
  }

  /** Bytes that are scheduled, and not hashed yet. */
  get leftBytes(): number {
    return this.scheduled - (this.#native?.position ?? this.#hashed);
  }

  /**
   * The digest of everything scheduled. Call once.
   * @throws what reading the file threw; ImgfsError `interrupted` when it was given up: what was hashed until then
   *   has a digest as well, which says nothing about the blob.
   */
  async finish(): Promise<Digest> {
    await this.idle();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#dropped) throw new ImgfsError('interrupted', `hash ${this.#digest}: closed before the end`);
    return this.#open().finish();
  }

  /** Give up; safe at any time. */
  async drop(): Promise<void> {
    this.#dropped = true;
    await this.idle();
    await this.#digester?.drop().catch(() => undefined);
  }
}
