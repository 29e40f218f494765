/** What the fault registry holds: repositories with manifests, tags and blobs, all in memory. */
import type { Digest } from '../../../src/oci/digest.js';

/** The bytes of a blob. A blob can be larger than memory: only slices of it are ever asked for. */
export interface BlobContent {
  readonly size: number;
  /** Bytes `[start, end)`. */
  slice(start: number, end: number): Uint8Array;
}

/** Bytes at hand as {@link BlobContent}. */
export function bytesContent(bytes: Uint8Array): BlobContent {
  return { size: bytes.length, slice: (start, end) => bytes.subarray(start, end) };
}

export interface StoredManifest {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

export interface Repository {
  readonly blobs: Set<Digest>;
  readonly manifests: Map<Digest, StoredManifest>;
  readonly tags: Map<string, Digest>;
}

export interface RegistryContent {
  readonly repositories: Map<string, Repository>;
  /** Bytes by digest, shared by all repositories, as on a real server. */
  readonly blobs: Map<Digest, BlobContent>;
}

export function createContent(): RegistryContent {
  return { repositories: new Map(), blobs: new Map() };
}

/** The repository, made when it is missing. */
export function ensureRepository(content: RegistryContent, name: string): Repository {
  let repository = content.repositories.get(name);
  if (repository === undefined) {
    repository = { blobs: new Set(), manifests: new Map(), tags: new Map() };
    content.repositories.set(name, repository);
  }
  return repository;
}

/** The blob, if that repository links to it. */
export function blobOf(content: RegistryContent, name: string, digest: Digest): BlobContent | undefined {
  if (content.repositories.get(name)?.blobs.has(digest) !== true) return undefined;
  return content.blobs.get(digest);
}

/** The manifest a tag or a digest names. */
export function manifestOf(
  repository: Repository | undefined,
  reference: string,
): { digest: Digest; manifest: StoredManifest } | undefined {
  const digest = reference.includes(':') ? (reference as Digest) : repository?.tags.get(reference);
  const manifest = digest === undefined ? undefined : repository?.manifests.get(digest);
  return digest === undefined || manifest === undefined ? undefined : { digest, manifest };
}
