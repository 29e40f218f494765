/** The second origin: an object store with signed URLs, which refuses credentials meant for the registry. */
import { isDigest, digestAlgorithm, digestHex } from '../../../src/oci/digest.js';
import type { Digest } from '../../../src/oci/digest.js';
import type { RegistryContext } from './context.js';
import type { RedirectOptions } from './options.js';
import { serveContent } from './ranges.js';
import { bytesReply, type Reply } from './reply.js';
import { queryOf, type RegistryRequest } from './request.js';

const defaultExpirySeconds = 1200;

function redirectOptions(context: RegistryContext): RedirectOptions | undefined {
  const { redirectBlobs } = context.options;
  if (redirectBlobs === undefined || redirectBlobs === false) return undefined;
  return redirectBlobs === true ? {} : redirectBlobs;
}

/** Where to send this request for a blob; undefined when the registry serves it itself. */
export function signedLocation(
  context: RegistryContext,
  method: string,
  digest: Digest,
): { status: number; location: string } | undefined {
  const options = redirectOptions(context);
  if (options === undefined || (method === 'HEAD' && options.head !== true)) return undefined;
  const path = `/bucket/${digestAlgorithm(digest)}/${digestHex(digest)}`;
  const expires = context.now() + (options.expirySeconds ?? defaultExpirySeconds) * 1000;
  const signature = context.sign(`${method} ${path} ${expires}`);
  const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=${expires}&X-Amz-Signature=${signature}`;
  return { status: options.status ?? 307, location: `${context.origins.storage}${path}?${query}` };
}

function storageError(status: number, code: string, message: string): Reply {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  return bytesReply(status, Buffer.from(xml), { 'Content-Type': 'application/xml' });
}

/** Answer as S3 does: signature, expiry, no second auth mechanism, single ranges only. */
export function handleStorage(context: RegistryContext, request: RegistryRequest): Reply {
  if (request.headers['authorization'] !== undefined) {
    return storageError(
      400,
      'InvalidArgument',
      'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified',
    );
  }
  const expires = queryOf(request, 'X-Amz-Expires') ?? '';
  const expected = context.sign(`${request.method} ${request.path} ${expires}`);
  if (queryOf(request, 'X-Amz-Signature') !== expected) {
    return storageError(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match');
  }
  if (context.now() > Number(expires)) return storageError(403, 'AccessDenied', 'Request has expired');
  const [, , algorithm, hex] = request.path.split('/');
  const digest = `${algorithm}:${hex}`;
  const content = isDigest(digest) ? context.content.blobs.get(digest) : undefined;
  if (content === undefined) return storageError(404, 'NoSuchKey', 'The specified key does not exist.');
  return serveContent(content, {
    headers: { 'Content-Type': 'application/octet-stream', ETag: `"${hex}"`, Server: 'AmazonS3' },
    range: context.options.ranges === 'ignored' ? undefined : request.headers['range'],
  });
}
