/** Descriptors (image-spec descriptor.md): what a blob is, how long it is, and the digest that proves it. */
import type { Digest } from './digest.js';
import type { Platform } from './platform.js';

/** What a blob is, how long it is, and the digest that proves it (image-spec descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Length of the blob in bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  /** The blob itself, embedded (decoded base64). Must be verified like any other source of bytes. */
  readonly data?: Uint8Array;
  /** Other places that may hold the blob: foreign layers. Untrusted. */
  readonly urls?: readonly string[];
  readonly platform?: Platform;
}
