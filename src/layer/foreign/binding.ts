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
  readonly trust: Trust;
};

/**
 * Who vouches for an index: the manifest of the image by a digest, the user who pulled it, or nobody until the layer was
 * gone through, which then begins at once.
 */
export type Trust = 'manifest' | 'user' | 'nobody';

function keyOf(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32);
}

/** Where an index lies that a user pulled and trusts: one for each layer. */
export const pulledKey = 'pulled';

/** The index of a layer that a user pulled; `indexes` is where it comes from when it is not there yet. */
export function pulledBinding(indexes: LayerIndexes): Binding {
  return { kind: 'soci', indexes, key: pulledKey, trust: 'user' };
}

/** What binds an index to this layer; undefined when nothing does. `deferred`: what nothing binds may be used too. */
export function bindingOf({ descriptor, soci }: LayerSource, deferred: boolean): Binding | undefined {
  const { annotations = {} } = descriptor;
  const chunked = zstdChunkedAnnotations(annotations);
  if (chunked !== undefined) {
    const { position, checksum } = chunked;
    const key = keyOf('zstd-chunked', position, checksum);
    return { kind: 'zstd-chunked', position, checksum, key, trust: 'manifest' };
  }
  const digest = annotations[tocDigestKey] ?? '';
  if (digest !== '') return { kind: 'estargz', digest, key: keyOf('estargz', digest), trust: 'manifest' };
  if (soci === undefined || (!soci.isBound && !deferred)) return undefined;
  return {
    kind: 'soci',
    indexes: soci,
    key: keyOf('soci', soci.key),
    trust: soci.isBound ? 'manifest' : 'nobody',
  };
}
