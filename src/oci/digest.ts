/**
 * Digests: `algorithm:encoded` (OCI image-spec descriptor.md, "Digests").
 *
 * sha256 and sha512 run in node:crypto; blake3, registered in the image-spec since 1.1, has no answer there and
 * runs in @noble/hashes (23 MB/s: correct, not fast).
 */
import { createHash, type Hash } from 'node:crypto';
import { blake3 } from '@noble/hashes/blake3.js';
import { ImgfsError } from '../errors/imgfs-error.js';

/** Algorithms that imgfs can verify. */
export type DigestAlgorithm = 'sha256' | 'sha512' | 'blake3';

/** A validated digest string, such as `sha256:` and 64 lower-case hex digits. */
export type Digest = string & { readonly __brand: 'Digest' };

/** Length of the encoded part, in hex digits, for each algorithm we can verify. */
const hexLengths: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128, blake3: 64 };

/** True for an algorithm that imgfs can verify. */
export function isDigestAlgorithm(text: string): text is DigestAlgorithm {
  return Object.hasOwn(hexLengths, text);
}

/** True for a well-formed digest of an algorithm that imgfs can verify. */
export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false;
  const colon = text.indexOf(':');
  const algorithm = text.slice(0, colon);
  if (colon < 0 || !isDigestAlgorithm(algorithm)) return false;
  return text.length === colon + 1 + hexLengths[algorithm] && /^[0-9a-f]+$/.test(text.slice(colon + 1));
}

/**
 * Check and brand a digest.
 * @throws ImgfsError `invalid` when it is malformed or of an algorithm that cannot be verified here.
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new ImgfsError('invalid', `not a digest: ${JSON.stringify(text.slice(0, 200))}`, {
    hint: 'digests look like sha256:<64 lower-case hex digits>; sha256, sha512 and blake3 are known',
  });
}

/** The part before the colon. */
export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  const algorithm = digest.slice(0, digest.indexOf(':'));
  if (isDigestAlgorithm(algorithm)) return algorithm;
  throw new ImgfsError('internal', `branded digest with unknown algorithm: ${digest}`);
}

/**
 * The part behind the colon: lower-case hex, safe as a file name. Checked again here, because this is where a digest
 * becomes a path, and a type assertion somewhere else would make it any path.
 * @throws ImgfsError `internal` for what was never checked.
 */
export function digestHex(digest: Digest): string {
  if (!isDigest(digest)) throw new ImgfsError('internal', 'branded digest is none');
  return digest.slice(digest.indexOf(':') + 1);
}

/** Incremental hashing of one stream of bytes. */
export interface Digester {
  readonly algorithm: DigestAlgorithm;
  /** Hash more bytes. */
  update(bytes: Uint8Array): void;
  /** Call once, at the end. */
  digest(): Digest;
}

/** Start hashing. */
export function createDigester(algorithm: DigestAlgorithm = 'sha256'): Digester {
  if (algorithm === 'blake3') {
    const state = blake3.create();
    return {
      algorithm,
      update: (bytes) => void state.update(bytes),
      digest: () => `blake3:${Buffer.from(state.digest()).toString('hex')}` as Digest,
    };
  }
  const state: Hash = createHash(algorithm);
  return {
    algorithm,
    update: (bytes) => void state.update(bytes),
    digest: () => `${algorithm}:${state.digest('hex')}` as Digest,
  };
}

/** Digest of bytes that are already in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  const digester = createDigester(algorithm);
  digester.update(bytes);
  return digester.digest();
}
