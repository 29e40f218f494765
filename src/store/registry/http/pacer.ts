/**
 * How many requests one host gets at a time, who goes first, and when a host that said "later" is asked again.
 *
 * A slot is held until the body is read. A body that its consumer holds back lends its slot to others meanwhile and
 * takes it back at once when it goes on (the host then has one request too many for a moment): so whoever waits for a
 * slot waits for bodies that move or time out, never for a consumer, and readers of many bodies cannot block
 * each other.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { RequestPriority } from '../../store.js';

export interface Slot {
  /** Lend the slot to others. */
  lend(): void;
  takeBack(): void;
  /** Idempotent. */
  release(): void;
}

interface Waiter {
  readonly priority: RequestPriority;
  readonly grant: (slot: Slot) => void;
}

export interface PacerLimits {
  readonly concurrency: number;
  readonly prefetchConcurrency: number;
}

export class Pacer {
  readonly #limits: PacerLimits;
  readonly #waiting: Record<RequestPriority, Waiter[]> = { interactive: [], prefetch: [] };
  readonly #active: Record<RequestPriority, number> = { interactive: 0, prefetch: 0 };
  #notBefore = 0;
  /** A timer for the end of the pause is set. */
  #waking = false;

  constructor(limits: PacerLimits) {
    this.#limits = limits;
  }

  /** Requests that hold a slot now. */
  get active(): number {
    return this.#active.interactive + this.#active.prefetch;
  }

  /** Milliseconds until the host wants to be asked again; 0 when it may be asked now. */
  get delayMs(): number {
    return Math.max(this.#notBefore - Date.now(), 0);
  }

  /** The host asked for a pause (`Retry-After`): nothing new is sent before it is over. */
  defer(ms: number): void {
    this.#notBefore = Math.max(this.#notBefore, Date.now() + ms);
  }

  /**
   * Wait for a slot: interactive requests first, each kind in the order it came.
   * @throws ImgfsError `interrupted` when `signal` aborts, `timeout` after `timeoutMs`.
   */
  acquire(priority: RequestPriority, timeoutMs: number, signal?: AbortSignal): Promise<Slot> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      const waiter: Waiter = {
        priority,
        grant: (slot) => {
          settle();
          resolve(slot);
        },
      };
      const fail = (error: ImgfsError): void => {
        settle();
        const queue = this.#waiting[priority];
        const index = queue.indexOf(waiter);
        if (index >= 0) queue.splice(index, 1);
        reject(error);
      };
      const onAbort = (): void =>
        fail(new ImgfsError('interrupted', 'the caller gave up while waiting for the registry'));
      const timer = setTimeout(
        () => fail(new ImgfsError('timeout', `no free connection to the registry after ${timeoutMs} ms`)),
        timeoutMs,
      );
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting[priority].push(waiter);
      this.#grant();
    });
  }

  #grant(): void {
    if (this.#waiting.interactive.length + this.#waiting.prefetch.length === 0) return;
    if (this.delayMs > 0) {
      if (this.#waking) return;
      this.#waking = true;
      setTimeout(() => {
        this.#waking = false;
        this.#grant();
      }, this.delayMs + 1);
      return;
    }
    while (this.active < this.#limits.concurrency) {
      const waiter = this.#nextWaiter();
      if (waiter === undefined) return;
      waiter.grant(this.#slot(waiter.priority));
    }
  }

  #nextWaiter(): Waiter | undefined {
    const interactive = this.#waiting.interactive.shift();
    if (interactive !== undefined) return interactive;
    if (this.#active.prefetch >= this.#limits.prefetchConcurrency) return undefined;
    return this.#waiting.prefetch.shift();
  }

  #slot(priority: RequestPriority): Slot {
    const active = this.#active;
    let state: 'held' | 'lent' | 'released' = 'held';
    active[priority] += 1;
    const give = (): void => {
      active[priority] -= 1;
      this.#grant();
    };
    return {
      lend: () => {
        if (state !== 'held') return;
        state = 'lent';
        give();
      },
      takeBack: () => {
        if (state !== 'lent') return;
        state = 'held';
        active[priority] += 1;
      },
      release: () => {
        const before = state;
        state = 'released';
        if (before === 'held') give();
      },
    };
  }
}
