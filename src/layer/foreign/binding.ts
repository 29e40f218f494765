/**
 * By what an index that came with an image is bound to its manifest.
 *
 * The layer's own digest is not enough to know such an index by: an image of somebody else may hold the same layer and
 * bind an index to it that lies. So its files, its trees and its inodes are kept apart by what binds it.
 */
import { createHash } from 'node:crypto';
import type { LayerIndexes, LayerSource } from '../layer-source.js';
import { tocDigestKey } from './estargz.js';
import { zstdChunkedAnnotations } from './zstd-chunked.js';

export type Binding = (
  | { readonly kind: 'estargz'; readonly digest: string }
  | { readonly kind: 'zstd-chunked'; readonly position: string; readonly checksum: string }
  | { readonly kind: 'soci'; readonly indexes: LayerIndexes }
) & {
  /** 32 hex digits: equal for equal bindings. */
  readonly key: string;
  /** False: names and bytes are unverified until the layer was gone through. */
  readonly isBound: boolean;
};

function keyOf(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32);
}

/** What binds an index to this layer; undefined when nothing does. `deferred`: what nothing binds may be used too. */
export function bindingOf({ descriptor, soci }: LayerSource, deferred: boolean): Binding | undefined {
  const { annotations = {} } = descriptor;
  const chunked = zstdChunkedAnnotations(annotations);
  if (chunked !== undefined) {
    const { position, checksum } = chunked;
    const key = keyOf('zstd-chunked', position, checksum);
    return { kind: 'zstd-chunked', position, checksum, key, isBound: true };
  }
  const digest = annotations[tocDigestKey] ?? '';
  if (digest !== '') return { kind: 'estargz', digest, key: keyOf('estargz', digest), isBound: true };
  if (soci === undefined || (!soci.isBound && !deferred)) return undefined;
  return { kind: 'soci', indexes: soci, key: keyOf('soci', soci.key), isBound: soci.isBound };
}
