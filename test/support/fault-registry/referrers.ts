/** Referrers: end-12a and end-12b of the distribution-spec. */
import { isDigest, type Digest } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import type { Repository, StoredManifest } from './content.js';
import { isOldDocker, type RegistryContext } from './context.js';
import { paginate } from './paginate.js';
import { bytesReply, errorReply, type Reply } from './reply.js';
import { queryOf, type RegistryRequest } from './request.js';

/** Whether this registry has the API at all. */
export function serveReferrers(context: RegistryContext): boolean {
  return context.options.referrers ?? !isOldDocker(context);
}

interface LooseManifest {
  readonly subject?: { readonly digest?: unknown };
  readonly artifactType?: string;
  readonly config?: { readonly mediaType?: string };
  readonly annotations?: Record<string, string>;
}

function describe(digest: Digest, stored: StoredManifest, subject: string): object | undefined {
  let manifest: LooseManifest;
  try {
    manifest = JSON.parse(Buffer.from(stored.bytes).toString('utf8')) as LooseManifest;
  } catch {
    return undefined;
  }
  if (manifest.subject?.digest !== subject) return undefined;
  const artifactType = manifest.artifactType ?? manifest.config?.mediaType;
  return {
    mediaType: stored.mediaType,
    digest,
    size: stored.bytes.length,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
  };
}

/** Descriptors of all manifests whose subject is that digest, in order of arrival. */
export function referrersOf(repository: Repository | undefined, subject: string): object[] {
  return [...(repository?.manifests ?? [])].flatMap(
    ([digest, stored]) => describe(digest, stored, subject) ?? [],
  );
}

export function handleReferrers(
  context: RegistryContext,
  request: RegistryRequest,
  name: string,
  digest: string,
): Reply {
  if (!serveReferrers(context)) return errorReply(404, 'NAME_UNKNOWN', 'page not found');
  if (request.method !== 'GET') return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  if (!isDigest(digest)) return errorReply(400, 'DIGEST_INVALID', 'provided digest did not parse');
  const wanted = queryOf(request, 'artifactType');
  const filter = wanted !== undefined && context.options.referrersFilter !== false;
  const all = referrersOf(context.content.repositories.get(name), digest).filter(
    (item) => !filter || (item as { artifactType?: string }).artifactType === wanted,
  );
  const page = paginate(context, request, all, (item) => (item as { digest: string }).digest);
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: page.items };
  return bytesReply(200, Buffer.from(JSON.stringify(index)), {
    'Content-Type': mediaTypes.ociIndex,
    ...(filter ? { 'OCI-Filters-Applied': 'artifactType' } : {}),
    ...page.headers,
  });
}
