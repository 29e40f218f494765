/** Lets images in that a policy accepts, and remembers what it said as long as a tag is believed. */
import { LRUCache } from 'lru-cache';
import { isImgfsError, type ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../../store/store.js';
import type { Image } from '../image.js';
import { SingleFlight } from '../single-flight.js';
import type { Policy } from './policy.js';
import type { Signatures } from './signatures.js';

export interface PolicyGateOptions {
  readonly policy: Policy;
  readonly signatures: Signatures;
  /** How long a verdict is believed, in milliseconds: keys and signatures may come and go. */
  readonly ttlMs: number;
  readonly now?: () => number;
}

/** Verdicts in memory: 300 bytes each. */
const maxVerdicts = 10_000;

interface RememberedVerdict {
  readonly refused: ImgfsError | undefined;
  readonly until: number;
}

export class PolicyGate {
  readonly #options: PolicyGateOptions;
  readonly #now: () => number;
  readonly #verdicts = new LRUCache<string, RememberedVerdict>({ max: maxVerdicts });
  readonly #flights = new SingleFlight<ImgfsError | undefined>();

  constructor(options: PolicyGateOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Resolves when the policy accepts the image.
   * @throws ImgfsError `denied` with the reasons; whatever a place of signatures or a key throws: that is no verdict, and
   *   nothing is let in on it.
   */
  async admit(image: Image, options: CallOptions = {}): Promise<void> {
    const { store, repository, tag, descriptor, parent } = image;
    const key = [store.id, repository, tag ?? '', descriptor.digest, parent?.descriptor.digest ?? ''].join(
      '\0',
    );
    const known = this.#verdicts.get(key);
    const refused =
      known !== undefined && known.until > this.#now()
        ? known.refused
        : await this.#flights.run(key, options.signal, (signal) => this.#ask(key, image, signal));
    if (refused !== undefined) throw refused;
  }

  async #ask(key: string, image: Image, signal: AbortSignal): Promise<ImgfsError | undefined> {
    const { policy, signatures, ttlMs } = this.#options;
    let refused: ImgfsError | undefined;
    try {
      await signatures.verify(image, policy, { signal });
    } catch (error) {
      if (!isImgfsError(error, 'denied')) throw error;
      refused = error;
    }
    this.#verdicts.set(key, { refused, until: this.#now() + ttlMs });
    return refused;
  }
}
