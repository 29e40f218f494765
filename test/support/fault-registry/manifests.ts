/** Manifests: end-3, end-7a, end-7b and end-9 of the distribution-spec. */
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../../src/oci/digest.js';
import { baseMediaType, manifestKind } from '../../../src/oci/media-type.js';
import { isTag } from '../../../src/oci/reference.js';
import { ensureRepository, manifestOf, type Repository } from './content.js';
import { digestHeaders, isOldDocker, type RegistryContext } from './context.js';
import { missingReference } from './manifest-references.js';
import { serveReferrers } from './referrers.js';
import { bytesReply, emptyReply, errorReply, type Headers, type Reply } from './reply.js';
import type { RegistryRequest } from './request.js';

/** distribution-spec, "Pushing Manifests": registries should take at least 4 MiB; this one takes no more. */
const maxManifestBytes = 4 * 1024 * 1024;

export async function handleManifest(
  context: RegistryContext,
  request: RegistryRequest,
  name: string,
  reference: string,
): Promise<Reply> {
  if (reference.includes(':') ? !isDigest(reference) : !isTag(reference)) {
    const code = reference.includes(':') ? 'DIGEST_INVALID' : 'TAG_INVALID';
    return errorReply(400, code, 'manifest reference did not parse');
  }
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      return getManifest(context, request, name, reference);
    case 'PUT':
      return putManifest(context, request, name, reference);
    case 'DELETE':
      return deleteManifest(context, name, reference);
    default:
      return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  }
}

function unknown(repository: Repository | undefined, name: string, reference: string): Reply {
  return repository === undefined
    ? errorReply(404, 'NAME_UNKNOWN', 'repository name not known to registry', {}, { name })
    : errorReply(404, 'MANIFEST_UNKNOWN', 'manifest unknown', {}, { reference });
}

function accepts(request: RegistryRequest, mediaType: string): boolean {
  const header = request.headers['accept'];
  if (header === undefined) return false;
  return header.split(',').some((item) => ['*/*', mediaType].includes(baseMediaType(item)));
}

function getManifest(
  context: RegistryContext,
  request: RegistryRequest,
  name: string,
  reference: string,
): Reply {
  const repository = context.content.repositories.get(name);
  const found = manifestOf(repository, reference);
  if (found === undefined) return unknown(repository, name, reference);
  const { digest, manifest } = found;
  if (isOldDocker(context) && !accepts(request, manifest.mediaType)) {
    return errorReply(
      404,
      'MANIFEST_UNKNOWN',
      'OCI manifest found, but accept header does not support OCI manifests',
    );
  }
  const etag = `"${digest}"`;
  if (request.headers['if-none-match'] === etag) return emptyReply(304, { ETag: etag });
  return bytesReply(200, manifest.bytes, {
    'Content-Type': manifest.mediaType,
    ETag: etag,
    ...digestHeaders(context, digest),
  });
}

function deleteManifest(context: RegistryContext, name: string, reference: string): Reply {
  if (context.options.deletes === false) return errorReply(405, 'UNSUPPORTED', 'deleting is disabled');
  const repository = context.content.repositories.get(name);
  const byTag = !reference.includes(':');
  if (byTag && isOldDocker(context)) {
    return errorReply(400, 'DIGEST_INVALID', 'provided digest did not match uploaded content');
  }
  const found = manifestOf(repository, reference);
  if (repository === undefined || found === undefined) return unknown(repository, name, reference);
  if (byTag) {
    repository.tags.delete(reference);
    return emptyReply(202);
  }
  repository.manifests.delete(found.digest);
  for (const [tag, digest] of repository.tags) {
    if (digest === found.digest) repository.tags.delete(tag);
  }
  return emptyReply(202);
}

async function putManifest(
  context: RegistryContext,
  request: RegistryRequest,
  name: string,
  reference: string,
): Promise<Reply> {
  const bytes = await request.body(maxManifestBytes);
  if (bytes === undefined) return errorReply(413, 'SIZE_INVALID', 'manifest is larger than 4 MiB');
  const mediaType = baseMediaType(request.headers['content-type'] ?? '');
  const kind = manifestKind(mediaType);
  if (kind === undefined || kind === 'schema1') {
    return errorReply(400, 'MANIFEST_INVALID', `media type ${JSON.stringify(mediaType)} is not accepted`);
  }
  const parsed = parseObject(bytes);
  if (parsed === undefined) return errorReply(400, 'MANIFEST_INVALID', 'manifest is not a JSON object');
  if (parsed['mediaType'] !== undefined && parsed['mediaType'] !== mediaType) {
    return errorReply(400, 'MANIFEST_INVALID', 'mediaType in the manifest is not the Content-Type');
  }
  const digest = digestOf(bytes, isDigest(reference) ? digestAlgorithm(reference) : 'sha256');
  if (isDigest(reference) && reference !== digest) {
    return errorReply(400, 'DIGEST_INVALID', 'provided digest did not match uploaded content');
  }
  const missing = missingReference(context.content, name, parsed, kind);
  if (missing !== undefined) return missing;
  const tags = isDigest(reference) ? tagsOf(context, request) : [reference];
  if (tags === 'invalid') return errorReply(400, 'TAG_INVALID', 'a tag parameter is not a tag');
  const repository = ensureRepository(context.content, name);
  repository.manifests.set(digest, { bytes, mediaType });
  for (const tag of tags) repository.tags.set(tag, digest);
  return emptyReply(201, {
    Location: `/v2/${name}/manifests/${digest}`,
    ...digestHeaders(context, digest),
    ...subjectHeader(context, parsed),
    ...(isDigest(reference) && tags.length > 0 ? { 'OCI-Tag': tags.join(', ') } : {}),
  });
}

function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** end-7b: registries that do not know the parameter ignore it. */
function tagsOf(context: RegistryContext, request: RegistryRequest): string[] | 'invalid' {
  if (context.options.tagParameter !== true) return [];
  const tags = request.query.getAll('tag');
  return tags.every(isTag) ? tags : 'invalid';
}

function subjectHeader(context: RegistryContext, manifest: Record<string, unknown>): Headers {
  const subject = manifest['subject'] as { digest?: Digest } | undefined;
  return serveReferrers(context) && typeof subject?.digest === 'string'
    ? { 'OCI-Subject': subject.digest }
    : {};
}
