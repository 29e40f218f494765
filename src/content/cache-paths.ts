/** Where everything lies inside the cache directory (docs: an OCI image layout plus folders of our own). */
import { join } from 'node:path';
import { digestAlgorithm, digestHex, isDigest, type Digest } from '../oci/digest.js';

/** Entries of a cache directory: what may be there without it being somebody else's directory. */
export const knownNames: ReadonlySet<string> = new Set([
  'oci-layout',
  'index.json',
  'blobs',
  'partial',
  'index',
  'decoded',
  'refs',
  'uploads',
  'lock',
]);

export class CachePaths {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  get layoutFile(): string {
    return join(this.directory, 'oci-layout');
  }

  get indexFile(): string {
    return join(this.directory, 'index.json');
  }

  get blobs(): string {
    return join(this.directory, 'blobs');
  }

  get partials(): string {
    return join(this.directory, 'partial');
  }

  get refs(): string {
    return join(this.directory, 'refs');
  }

  /** Locks of what is done by one process at a time. */
  get locks(): string {
    return join(this.directory, 'lock');
  }

  /** Folder of the complete blobs of the digest's algorithm. */
  blobFolder(digest: Digest): string {
    return join(this.blobs, digestAlgorithm(digest));
  }

  blob(digest: Digest): string {
    return join(this.blobFolder(digest), digestHex(digest));
  }

  /** Name of the folder of a partial blob: `sha256-<hex>`. */
  partialName(digest: Digest): string {
    return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
  }

  partial(digest: Digest): string {
    return join(this.partials, this.partialName(digest));
  }
}

/** Inverse of {@link CachePaths.partialName}; a private copy (`sha256-<hex>~…`) counts for its digest. */
export function digestOfPartial(name: string): Digest | undefined {
  const text = name.replace(/~.*$/u, '').replace('-', ':');
  return isDigest(text) ? text : undefined;
}
