/**
 * By what an index that came with an image is bound to its manifest.
 *
 * The layer's own digest is not enough to know such an index by: an image of somebody else may hold the same layer and
 * bind an index to it that lies. So its files, its trees and its inodes are kept apart by what binds it.
 */
import { createHash } from 'node:crypto';
import type { LayerIndexes, LayerSource } from '../layer-source.js';
import { tocDigestKey } from './estargz.js';
import { checksumKey, positionKey } from './zstd-chunked.js';

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

/** No annotation of a real image is longer. */
const maxAnnotationBytes = 256;

function keyOf(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32);
}

/** What binds an index to this layer; undefined when nothing does. `deferred`: what nothing binds may be used too. */
export function bindingOf({ descriptor, soci }: LayerSource, deferred: boolean): Binding | undefined {
  const annotation = (name: string): string =>
    descriptor.annotations?.[name]?.slice(0, maxAnnotationBytes) ?? '';
  const [position, checksum] = [annotation(positionKey), annotation(checksumKey)];
  if (position !== '' && checksum !== '') {
    const kind = 'zstd-chunked';
    return { kind, position, checksum, key: keyOf(kind, position, checksum), isBound: true };
  }
  const digest = annotation(tocDigestKey);
  if (digest !== '') return { kind: 'estargz', digest, key: keyOf('estargz', digest), isBound: true };
  if (soci === undefined || (!soci.isBound && !deferred)) return undefined;
  return { kind: 'soci', indexes: soci, key: keyOf('soci', soci.key), isBound: soci.isBound };
}
