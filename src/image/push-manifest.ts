/**
 * A manifest into a repository: checked first, so that no tag ever names what is not whole.
 *
 * Registries check too, but not all of them, not everything, and with messages that name nothing.
 */
import { isThere } from '../errors/if-missing.js';
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestAlgorithm, digestOf, type Digest } from '../oci/digest.js';
import { referencedBlobs, type Manifest } from '../oci/manifest.js';
import { isForeignLayer } from '../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../oci/parse-manifest.js';
import { isBlobStatter, type CallOptions } from '../store/store.js';
import type { PushStore } from './push-store.js';

/** Questions to the store at the same time: an image of 40 layers is answered in ten round trips. */
const parallelChecks = 4;

export interface ManifestPlace {
  readonly store: PushStore;
  readonly repository: string;
}

export interface PushManifestOptions extends CallOptions {
  readonly tags?: readonly string[];
  /** Refuse bytes of another digest. */
  readonly expected?: Digest;
  readonly child?: boolean;
  /** Repositories of the same store in which the digest was seen: a missing blob may be mounted from there. */
  readonly seenIn?: (digest: Digest) => readonly string[];
}

/**
 * Understand bytes that somebody wants to push.
 * @throws ImgfsError `too-large`; `invalid` when they are no manifest, or an ambiguous one; `digest-mismatch`.
 */
export function checkManifest(bytes: Uint8Array, expected?: Digest): Manifest {
  if (bytes.length > maxManifestBytes) {
    throw new ImgfsError(
      'too-large',
      `put manifest: ${bytes.length} bytes, the limit is ${maxManifestBytes}`,
    );
  }
  if (expected !== undefined) {
    const digest = digestOf(bytes, digestAlgorithm(expected));
    if (digest !== expected)
      throw new ImgfsError('digest-mismatch', `put manifest: it is ${digest}, its name says ${expected}`, {
        digest: expected,
      });
  }
  try {
    return parseManifest(bytes);
  } catch (error) {
    if (!isImgfsError(error) || error.code === 'too-large') throw error;
    // What is wrong is the caller's argument here, not content from a store.
    throw new ImgfsError('invalid', `put manifest: ${error.message}`, {
      cause: error,
      hint: error.hint ?? 'write an OCI or Docker image manifest or index, as JSON',
    });
  }
}

/** Blobs and children that the repository lacks, in the manifest's order. Blobs seen nearby are mounted on the way. */
export async function missingContent(
  place: ManifestPlace,
  manifest: Manifest,
  options: PushManifestOptions = {},
): Promise<readonly Descriptor[]> {
  const wanted =
    manifest.kind === 'index'
      ? manifest.manifests
      : referencedBlobs(manifest).filter(({ mediaType }) => !isForeignLayer(mediaType));
  const isThere = (descriptor: Descriptor): Promise<boolean> =>
    manifest.kind === 'index' ? hasManifest(place, descriptor, options) : hasBlob(place, descriptor, options);
  const missing = new Set<Descriptor>();
  const queue = [...wanted];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      if (!(await isThere(next))) missing.add(next);
  };
  await Promise.all(Array.from({ length: parallelChecks }, worker));
  return wanted.filter((descriptor) => missing.has(descriptor));
}

/**
 * Check a manifest, and put it.
 * @throws ImgfsError as {@link checkManifest}; `invalid` naming the first blob that is missing; what the store throws.
 */
export async function pushManifest(
  place: ManifestPlace,
  bytes: Uint8Array,
  options: PushManifestOptions = {},
): Promise<Descriptor> {
  const manifest = checkManifest(bytes, options.expected);
  const missing = await missingContent(place, manifest, options);
  if (missing.length > 0) throw lacking(place, manifest, missing);
  return putChecked(place, manifest, bytes, options);
}

/** Why a manifest cannot be put yet. */
export function lacking(
  { store, repository }: ManifestPlace,
  manifest: Manifest,
  missing: readonly Descriptor[],
): ImgfsError {
  const [first] = missing;
  const what = manifest.kind === 'index' ? 'manifest' : 'blob';
  const more = missing.length > 1 ? ` and ${missing.length - 1} more` : '';
  return new ImgfsError(
    'invalid',
    `put manifest: ${store.id}/${repository} lacks ${what} ${first?.digest}${more}`,
    {
      reference: `${store.id}/${repository}`,
      ...(first === undefined ? {} : { digest: first.digest }),
      hint: what === 'blob' ? 'upload it to @uploads/ first' : 'put the manifests that the index names first',
    },
  );
}

/** Put a manifest that was checked. */
export function putChecked(
  { store, repository }: ManifestPlace,
  manifest: Manifest,
  bytes: Uint8Array,
  options: PushManifestOptions,
): Promise<Descriptor> {
  const { expected, tags, child, signal } = options;
  return store.putManifest(repository, bytes, manifest.mediaType, {
    ...(tags === undefined ? {} : { tags }),
    ...(child === undefined ? {} : { child }),
    ...(signal === undefined ? {} : { signal }),
    ...(expected === undefined ? {} : { algorithm: digestAlgorithm(expected) }),
  });
}

async function hasManifest(
  { store, repository }: ManifestPlace,
  { digest }: Descriptor,
  options: CallOptions,
): Promise<boolean> {
  return isThere(store.resolve({ repository, digest }, callOptions(options)));
}

async function hasBlob(
  { store, repository }: ManifestPlace,
  { digest, size }: Descriptor,
  options: PushManifestOptions,
): Promise<boolean> {
  // Without a way to ask, the store's own check has to do.
  if (!isBlobStatter(store)) return true;
  try {
    const stored = await store.statBlob(repository, digest, callOptions(options));
    if (stored.size === size) return true;
    throw new ImgfsError(
      'invalid',
      `put manifest: ${digest} has ${stored.size} bytes, the manifest says ${size}`,
      { digest },
    );
  } catch (error) {
    if (!isImgfsError(error, 'not-found')) throw error;
  }
  for (const from of options.seenIn?.(digest).slice(0, 2) ?? []) {
    if (
      from !== repository &&
      (await store.mountBlob(repository, from, digest, callOptions(options)).catch(() => false))
    )
      return true;
  }
  return false;
}

const callOptions = ({ signal }: CallOptions): CallOptions => (signal === undefined ? {} : { signal });
