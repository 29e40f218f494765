/** Blobs: end-2 and end-10 of the distribution-spec, and the redirect to storage. */
import { isDigest } from '../../../src/oci/digest.js';
import { blobOf } from './content.js';
import { digestHeaders, isOldDocker, type RegistryContext } from './context.js';
import { serveContent } from './ranges.js';
import { emptyReply, errorReply, type Reply } from './reply.js';
import type { RegistryRequest } from './request.js';
import { signedLocation } from './storage.js';

export function handleBlob(
  context: RegistryContext,
  request: RegistryRequest,
  repository: string,
  digest: string,
): Reply {
  if (!isDigest(digest)) return errorReply(400, 'DIGEST_INVALID', 'provided digest did not parse');
  const content = blobOf(context.content, repository, digest);
  if (content === undefined) {
    return errorReply(404, 'BLOB_UNKNOWN', 'blob unknown to registry', {}, { digest });
  }
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      break;
    case 'DELETE':
      if (context.options.deletes === false) return errorReply(405, 'UNSUPPORTED', 'deleting is disabled');
      context.content.repositories.get(repository)?.blobs.delete(digest);
      return emptyReply(202, digestHeaders(context, digest));
    default:
      return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  }
  const redirect = signedLocation(context, request.method, digest);
  if (redirect !== undefined) {
    return emptyReply(redirect.status, {
      Location: redirect.location,
      'Content-Type': 'application/octet-stream',
      ...digestHeaders(context, digest),
    });
  }
  const headers = {
    'Content-Type': 'application/octet-stream',
    ETag: `"${digest}"`,
    'Cache-Control': 'max-age=31536000',
    ...digestHeaders(context, digest),
  };
  if (request.headers['if-none-match'] === headers.ETag) return emptyReply(304, { ETag: headers.ETag });
  const whole = request.method === 'HEAD' || context.options.ranges === 'ignored';
  return serveContent(content, {
    headers,
    range: whole ? undefined : request.headers['range'],
    oldUnsatisfiable: isOldDocker(context),
  });
}
