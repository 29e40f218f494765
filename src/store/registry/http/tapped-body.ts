/**
 * The body of an answer, taken off its connection before undici's parser: handed on in chunks as they were read, or
 * received into a file by a thread of the addon, so that none of it comes into JavaScript.
 *
 * The parser is given the head with a length of one byte, and that byte when the body is over: to undici the connection
 * is busy until then, is used again afterwards, and is closed by whatever closes it now. Nothing is read before somebody
 * has said which way the body is to go.
 */
import {
  receiveAddon,
  receiveOutcome,
  type DigestHandle,
  type ReceiverHandle,
} from '../../../addon/receive-addon.js';

/** What a body needs of its connection. */
export interface TappedWire {
  /** Read on; chunks come by `take`. */
  readOn(): void;
  /** The body is over: the parser may have its byte, and what follows. */
  finish(rest: Uint8Array): void;
  /** Descriptor of the socket while it is open. */
  fd(): number | undefined;
}

/** Who gets the chunks, in order. */
export type TakeChunk = (chunk: Uint8Array) => void;

/** A file that takes a body. */
export interface ReceiveTarget {
  readonly fd: number;
  /** Where in the file the body begins. */
  readonly offset: number;
  readonly digest: DigestHandle | undefined;
  /** So many bytes of the body are in the file. */
  onWritten(bytes: number): void;
}

const nothing = new Uint8Array(0);

export class TappedBody {
  /** Bytes of the body. */
  readonly length: number;
  readonly #wire: TappedWire;
  readonly #prefix: Uint8Array;
  #left: number;
  #take: TakeChunk | undefined;
  #begun = false;
  #paused = false;
  #cancelled = false;
  #receiver: ReceiverHandle | undefined;

  /** `prefix`: what was read along with the head. */
  constructor(wire: TappedWire, length: number, prefix: Uint8Array) {
    this.#wire = wire;
    this.length = length;
    this.#prefix = prefix;
    this.#left = length;
  }

  /** True while the connection must not be read. */
  get isHeld(): boolean {
    return !this.#begun || this.#paused || this.#receiver !== undefined;
  }

  /** True until it was begun either way. */
  get isFresh(): boolean {
    return !this.#begun;
  }

  /** True when the connection is free again, or closed. */
  get isOver(): boolean {
    return this.#left === 0 || this.#cancelled;
  }

  /** Begin to hand on chunks. */
  begin(take: TakeChunk): void {
    this.#begun = true;
    this.#take = take;
    this.#handOn(this.#prefix);
    this.#readOn();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#readOn();
  }

  /** From the connection: the next bytes. */
  take(chunk: Uint8Array): void {
    this.#handOn(chunk);
  }

  #readOn(): void {
    if (this.#left > 0 && !this.isHeld) this.#wire.readOn();
  }

  #handOn(chunk: Uint8Array): void {
    const own = chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk;
    this.#left -= own.length;
    if (own.length > 0) this.#take?.(own);
    if (this.#left === 0) this.#wire.finish(chunk.subarray(own.length));
  }

  /** Whether `receive` can do anything. */
  get canReceive(): boolean {
    return !this.#begun && receiveAddon() !== undefined && this.#wire.fd() !== undefined;
  }

  /**
   * Begin to receive into a file. Resolves to how many bytes are in it when no more will come that way: all, or as many
   * as came and could be written. What is left, up to the end or the failure of the connection, comes by `take`.
   */
  receive(target: ReceiveTarget, take: TakeChunk): Promise<number> {
    const addon = receiveAddon();
    const socket = this.#wire.fd();
    if (this.#begun || addon === undefined || socket === undefined) return Promise.resolve(0);
    this.#begun = true;
    this.#take = take;
    return new Promise((resolve) => {
      const { fd, offset, digest } = target;
      const { length } = this;
      this.#receiver = addon.start(socket, fd, offset, length, this.#prefix, digest, (...told) => {
        const [written, outcome, , leftover = nothing] = told;
        target.onWritten(written);
        if (outcome === receiveOutcome.running) return;
        this.#receiver = undefined;
        this.#left = length - written;
        resolve(written);
        // Also after all of it: the parser's byte.
        this.#handOn(leftover);
        this.#readOn();
      });
    });
  }

  /** Nobody wants the rest; the connection is going to be closed. */
  cancel(): void {
    this.#cancelled = true;
    this.#take = undefined;
    if (this.#receiver !== undefined) receiveAddon()?.abort(this.#receiver);
  }
}
