/** The addon's part that receives bodies and hashes files, as TypeScript sees it (native/src/receive/). */
import { loadAddon } from './load-addon.js';

declare const digestMark: unique symbol;
declare const receiverMark: unique symbol;

/** A digest that any thread may go on with, in order. */
export interface DigestHandle {
  readonly [digestMark]: true;
}

/** A transfer under way. */
export interface ReceiverHandle {
  readonly [receiverMark]: true;
}

/** How a transfer goes, and how it ended: as `Receiver::Outcome`. */
export const receiveOutcome = { done: 0, cut: 1, aborted: 2, notWritten: 3, running: 99 } as const;

/**
 * Told now and then, and once with another outcome than `running`, which is the last time. `written` bytes are in the
 * file; `error` is an errno, `leftover` what was received and could not be written.
 */
export type OnReceive = (written: number, outcome: number, error?: number, leftover?: Uint8Array) => void;

export interface ReceiveAddon {
  /** Undefined for an algorithm that it does not know. */
  createDigest(algorithm: string): DigestHandle | undefined;
  /** How many bytes are in it. */
  digestPosition(digest: DigestHandle): number;
  /** Hash what lies between `digestPosition` and `end` in a file; short where that ends. Resolves to an errno, or 0. */
  digestFile(digest: DigestHandle, fd: number, end: number): Promise<number>;
  digestFeed(digest: DigestHandle, bytes: Uint8Array): Promise<void>;
  /** Lower-case hex. Call once. */
  digestFinish(digest: DigestHandle): string;
  /**
   * Receive `length` bytes, of which `prefix` are here already, from a connected socket that nobody else reads, to
   * `offset` of a file. Both descriptors are duplicated.
   */
  start(
    socket: number,
    file: number,
    offset: number,
    length: number,
    prefix: Uint8Array,
    digest: DigestHandle | undefined,
    onReceive: OnReceive,
  ): ReceiverHandle;
  /** End it soon, and its connection with it. */
  abort(receiver: ReceiverHandle): void;
}

/** Undefined without the addon, or with one that is older. */
export function receiveAddon(): ReceiveAddon | undefined {
  const { addon } = loadAddon();
  return addon?.receive as ReceiveAddon | undefined;
}
