/**
 * An image store in memory that does what it is told: faults by request, and a record of what was asked for.
 */
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { BlobSource } from '../../src/content/content.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf, type Digest, type DigestAlgorithm } from '../../src/oci/digest.js';
import type { Body, FetchOptions, ImageStore, Resolved, Target } from '../../src/store/store.js';

export interface ScriptedRequest {
  readonly digest: Digest;
  readonly start: number;
  readonly end: number;
  /** Bytes given out. */
  sent: number;
  cancelled: boolean;
}

/** What one answer does wrong; everything else is right. */
export interface ScriptedFault {
  /** Thrown instead of an answer. */
  readonly error?: ImgfsError;
  /** Ignore the range: send everything. */
  readonly whole?: boolean;
  /** The body ends after so many bytes… */
  readonly cutAfter?: number;
  /** …with this error instead of quietly. */
  readonly cutError?: ImgfsError;
  /** Bytes behind the end. */
  readonly extra?: number;
  /** The answer claims to start here. */
  readonly claimStart?: number;
  readonly claimTotal?: number;
  /** Flip a bit of the blob at this offset. */
  readonly flipAt?: number;
  /** Nothing comes until this settles. */
  readonly waitFor?: Promise<void>;
  /** Nothing comes until it is cancelled. */
  readonly hang?: boolean;
}

export interface ScriptedStoreOptions {
  readonly id?: string;
  readonly chunkBytes?: number;
  /** Called for each request, numbered from 0. */
  readonly fault?: (request: ScriptedRequest, number: number) => ScriptedFault | undefined;
  /** Resolves before each chunk; default at once. */
  readonly pace?: (request: ScriptedRequest) => Promise<void>;
}

export class ScriptedStore implements ImageStore {
  readonly transport = 'docker' as const;
  readonly id: string;
  readonly requests: ScriptedRequest[] = [];
  fault: ScriptedStoreOptions['fault'];
  readonly #options: ScriptedStoreOptions;
  readonly #blobs = new Map<Digest, Uint8Array>();

  constructor(options: ScriptedStoreOptions = {}) {
    this.#options = options;
    this.id = options.id ?? 'docker://scripted.test';
    this.fault = options.fault;
  }

  add(
    bytes: Uint8Array,
    algorithm: DigestAlgorithm = 'sha256',
    mediaType = 'application/octet-stream',
  ): BlobSource {
    const digest = digestOf(bytes, algorithm);
    this.#blobs.set(digest, bytes);
    return this.source({ mediaType, digest, size: bytes.length });
  }

  source(descriptor: Descriptor): BlobSource {
    return { store: this, repository: 'test/repo', descriptor };
  }

  /** Bytes sent over all requests. */
  get sent(): number {
    return this.requests.reduce((sum, { sent }) => sum + sent, 0);
  }

  resolve(_target: Target): Promise<Resolved> {
    return Promise.reject(new ImgfsError('unsupported', 'scripted store: resolve'));
  }

  async fetch(_repository: string, { digest, size }: Descriptor, options: FetchOptions = {}): Promise<Body> {
    const { range, signal } = options;
    const number = this.requests.length;
    const request: ScriptedRequest = {
      digest,
      start: range?.start ?? 0,
      end: range?.end ?? size,
      sent: 0,
      cancelled: false,
    };
    this.requests.push(request);
    const fault = this.fault?.(request, number) ?? {};
    await Promise.resolve();
    if (fault.error !== undefined) throw fault.error;
    if (signal?.aborted === true) throw new ImgfsError('interrupted', 'scripted store: aborted');
    const blob = this.#blobs.get(digest);
    if (blob === undefined) throw new ImgfsError('not-found', `scripted store: no blob ${digest}`);
    const start = fault.whole === true ? 0 : request.start;
    const end = fault.whole === true ? blob.length : Math.min(request.end, blob.length);
    const cancelled = new AbortController();
    signal?.addEventListener('abort', () => cancelled.abort(), { once: true });
    return {
      start: fault.claimStart ?? start,
      end,
      totalSize: fault.claimTotal ?? blob.length,
      chunks: this.#chunks(request, bytesOf(blob, start, end, fault), fault, cancelled.signal),
      cancel: () => {
        request.cancelled = true;
        cancelled.abort();
      },
    };
  }

  async *#chunks(
    request: ScriptedRequest,
    bytes: Uint8Array,
    fault: ScriptedFault,
    cancelled: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const chunkBytes = this.#options.chunkBytes ?? 64 << 10;
    if (fault.waitFor !== undefined) await fault.waitFor;
    if (fault.hang === true) await aborted(cancelled);
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      await this.#options.pace?.(request);
      if (cancelled.aborted) throw new ImgfsError('interrupted', 'scripted store: cancelled');
      // A copy, as a socket would give.
      const chunk = bytes.slice(at, at + chunkBytes);
      request.sent += chunk.length;
      yield chunk;
    }
    if (fault.cutError !== undefined) throw fault.cutError;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function bytesOf(blob: Uint8Array, start: number, end: number, fault: ScriptedFault): Uint8Array {
  const right = blob.subarray(start, end);
  const bytes = Buffer.concat([right, Buffer.alloc(fault.extra ?? 0, 0x55)]);
  const flip = (fault.flipAt ?? -1) - start;
  if (flip >= 0 && flip < right.length) bytes[flip] = (bytes[flip] ?? 0) ^ 1;
  return fault.cutAfter === undefined ? bytes : bytes.subarray(0, fault.cutAfter);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(new ImgfsError('interrupted', 'scripted store: cancelled'));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}
