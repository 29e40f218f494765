/** Blobs: reading them whole or in ranges, asking for their size, and foreign layers. */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, type Digest } from '../../oci/digest.js';
import { baseMediaType, mediaTypes } from '../../oci/media-type.js';
import type { ByteRange, CallOptions } from '../store.js';
import type { Call, RegistryClient, Reply } from './client.js';
import { parseContentRange } from './http/content-range.js';
import { contentLength, headerValue } from './http/headers.js';
import { discardBody } from './http/read-body.js';
import { claimedDigest } from './manifests.js';

function blobCall(
  client: RegistryClient,
  repository: string,
  digest: Digest,
  method: 'GET' | 'HEAD',
  options: CallOptions,
): Call {
  return {
    ...options,
    operation: method === 'GET' ? 'fetch blob' : 'stat blob',
    method,
    repository,
    path: `/blobs/${digest}`,
    capability: 'pull',
    access: 'pull',
    expect: [200],
    redirectKey: `${repository} ${digest}`,
    context: { reference: `${client.registry}/${repository}@${digest}`, digest },
  };
}

/** `Range` of one part: several at once are refused or ignored by GHCR, GCR, ECR and S3. */
export function rangeHeader(range: ByteRange | undefined): Record<string, string> {
  return range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` };
}

/** At most this many of a descriptor's `urls` are tried. */
const maxForeignUrls = 4;

/** Ask for a blob; where the registry does not have it, at the places a foreign layer names. */
export async function openBlob(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  range: ByteRange | undefined,
  options: CallOptions,
): Promise<Reply> {
  const call = {
    ...blobCall(client, repository, descriptor.digest, 'GET', options),
    headers: rangeHeader(range),
    expect: [200, 206, 416],
  };
  try {
    return await client.send(call);
  } catch (error) {
    const urls = (descriptor.urls ?? []).slice(0, maxForeignUrls);
    if (urls.length === 0 || !isImgfsError(error, 'not-found')) throw error;
    for (const url of urls) {
      const reply = await client.sendAbroad(url, call);
      if (reply !== undefined) return reply;
    }
    throw toImgfsError(error);
  }
}

/**
 * Size of a blob: HEAD, or one byte of it where HEAD is refused.
 * @throws ImgfsError `not-found` when the repository has no such blob; `protocol` when no size is told.
 */
export async function statBlob(
  client: RegistryClient,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Promise<Descriptor> {
  const call = blobCall(client, repository, digest, 'HEAD', options);
  const reply = await client.send({ ...call, expect: [200, 400, 405, 501] });
  await discardBody(reply.body);
  const size = contentLength(reply.headers);
  const claimed = claimedDigest(reply);
  if (claimed !== undefined && claimed !== digest && digestAlgorithm(claimed) === digestAlgorithm(digest)) {
    throw new ImgfsError('integrity', `stat blob: ${reply.url.host} answers for ${claimed}`, reply.context);
  }
  const announced = baseMediaType(headerValue(reply.headers, 'content-type') ?? '');
  const mediaType = announced === '' ? mediaTypes.octetStream : announced;
  if (reply.status === 200 && size !== undefined) return { mediaType, digest, size };
  return { mediaType: mediaTypes.octetStream, digest, size: await sizeByReading(client, call) };
}

/**
 * `Last-Modified` of a blob: of the storage that the registry redirects to, where it does; registries themselves
 * rarely tell (docker-registry 2.8.2 never does).
 * @throws ImgfsError `not-found`.
 */
export async function blobDate(
  client: RegistryClient,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Promise<Date | undefined> {
  const call = blobCall(client, repository, digest, 'HEAD', options);
  const reply = await client.send({ ...call, expect: [200, 400, 405, 501] });
  await discardBody(reply.body);
  const time = Date.parse(headerValue(reply.headers, 'last-modified') ?? '');
  return Number.isFinite(time) ? new Date(time) : undefined;
}

async function sizeByReading(client: RegistryClient, call: Call): Promise<number> {
  const reply = await client.send({
    ...call,
    method: 'GET',
    headers: rangeHeader({ start: 0, end: 1 }),
    expect: [200, 206, 416],
  });
  reply.body.cancel();
  const range = parseContentRange(headerValue(reply.headers, 'content-range'));
  const size = reply.status === 200 ? contentLength(reply.headers) : range?.totalSize;
  if (size !== undefined) return size;
  throw new ImgfsError('protocol', `stat blob: ${reply.url.host} does not tell the size`, reply.context);
}
