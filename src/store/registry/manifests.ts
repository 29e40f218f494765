/** Manifests: from a tag or digest to a descriptor, reading one, putting one, deleting one. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { acceptedManifestTypes, baseMediaType, manifestKind, mediaTypes } from '../../oci/media-type.js';
import { isTag } from '../../oci/reference.js';
import type { CallOptions, Resolved, Target } from '../store.js';
import type { Call, RegistryClient, Reply } from './client.js';
import { contentLength, headerValue } from './http/headers.js';
import { discardBody, readBody } from './http/read-body.js';
import { caps } from './options.js';

/**
 * All types in one header: docker-registry 2.8 answers 404 when the type it has is not accepted. Schema 1 comes last,
 * so that a registry with nothing else says so and we can, too.
 */
export const manifestAccept = [
  ...acceptedManifestTypes,
  `${mediaTypes.dockerSchema1Signed};q=0.1`,
  `${mediaTypes.dockerSchema1};q=0.1`,
].join(', ');

/** The digest an answer claims; undefined when there is none we can read. */
export function claimedDigest(reply: Reply): Digest | undefined {
  const value = headerValue(reply.headers, 'docker-content-digest')?.trim();
  return isDigest(value) ? value : undefined;
}

function referenceOf(client: RegistryClient, { repository, tag, digest }: Target): string {
  const separator = digest === undefined ? ':' : '@';
  return `${client.registry}/${repository}${separator}${digest ?? tag}`;
}

function manifestCall(
  client: RegistryClient,
  target: Target,
  method: 'GET' | 'HEAD',
  options: CallOptions,
): Call {
  const { repository, tag, digest } = target;
  const name = digest ?? tag;
  if (name === undefined) {
    throw new ImgfsError(
      'invalid',
      `resolve ${client.registry}/${repository}: neither tag nor digest is given`,
    );
  }
  if (digest === undefined && !isTag(name)) {
    throw new ImgfsError(
      'name-invalid',
      `resolve ${client.registry}/${repository}: ${JSON.stringify(name.slice(0, 200))} is not a tag`,
    );
  }
  return {
    ...options,
    operation: 'resolve',
    method,
    repository,
    path: `/manifests/${name}`,
    capability: digest === undefined ? 'resolve' : 'pull',
    access: 'pull',
    headers: { accept: manifestAccept },
    expect: [200],
    context: {
      reference: referenceOf(client, target),
      ...(digest === undefined ? {} : { digest }),
    },
  };
}

function refuseSchema1(client: RegistryClient, target: Target): never {
  throw new ImgfsError('unsupported', `${referenceOf(client, target)} is a Docker schema 1 image`, {
    reference: referenceOf(client, target),
    host: client.registry,
    hint: 'schema 1 has no digests of configs and layers to verify; push the image anew with a client of this decade',
  });
}

function mismatch(
  client: RegistryClient,
  target: Target,
  said: string,
  is: string,
  reply: Reply,
): ImgfsError {
  return new ImgfsError(
    'integrity',
    `resolve ${referenceOf(client, target)}: ${reply.url.host} announces ${said}, which is ${is}`,
    { ...reply.context, digest: said, hint: 'report this to the operator of the registry or mirror' },
  );
}

/** The media type by the manifest's own word, for servers that send `application/json` or `text/plain`. */
function ownMediaType(bytes: Uint8Array): string | undefined {
  try {
    const limits = { what: 'manifest', maxBytes: caps.manifestBytes };
    const parsed = parseUntrustedJson(bytes, limits) as Record<string, unknown> | null;
    const mediaType = parsed?.['mediaType'];
    if (typeof mediaType === 'string') return baseMediaType(mediaType);
    if (Array.isArray(parsed?.['manifests'])) return mediaTypes.ociIndex;
    if (parsed?.['schemaVersion'] === 1) return mediaTypes.dockerSchema1;
    return Array.isArray(parsed?.['layers']) ? mediaTypes.ociManifest : undefined;
  } catch {
    return undefined;
  }
}

/** Statuses of a HEAD that say nothing about the manifest: the method itself is not liked. */
const headRefused = new Set([400, 405, 406, 501]);

/**
 * For a tag HEAD, and GET only where HEAD is refused or lacks what a descriptor needs (older registries): Docker Hub
 * does not count a HEAD as a pull. For a digest GET: it costs no more round trips, the bytes are wanted next, and what
 * a HEAD claims about size cannot be checked, while the answer is believed for ever.
 * @throws ImgfsError as `ImageStore.resolve`; `unsupported` for schema 1, `integrity` for a digest that is not so.
 */
export async function resolveManifest(
  client: RegistryClient,
  target: Target,
  options: CallOptions,
): Promise<Resolved> {
  if (target.digest !== undefined) return resolveByReading(client, target, options);
  const call = manifestCall(client, target, 'HEAD', options);
  const reply = await client.send({ ...call, expect: [200, ...headRefused] });
  await discardBody(reply.body);
  if (reply.status === 200) {
    const mediaType = baseMediaType(headerValue(reply.headers, 'content-type') ?? '');
    const claimed = claimedDigest(reply);
    const size = contentLength(reply.headers);
    if (manifestKind(mediaType) === 'schema1') refuseSchema1(client, target);
    if (claimed !== undefined && size !== undefined && size > 0 && manifestKind(mediaType) !== undefined) {
      return { descriptor: { mediaType, digest: claimed, size } };
    }
  }
  return resolveByReading(client, target, options);
}

async function resolveByReading(
  client: RegistryClient,
  target: Target,
  options: CallOptions,
): Promise<Resolved> {
  const reply = await client.send(manifestCall(client, target, 'GET', options));
  const bytes = await readBody(reply.body, caps.manifestBytes, client.options.callTimeoutMs, reply.context);
  const claimed = claimedDigest(reply);
  const expected = target.digest ?? claimed;
  const digest = digestOf(bytes, expected === undefined ? 'sha256' : digestAlgorithm(expected));
  if (expected !== undefined && expected !== digest) {
    throw mismatch(client, target, expected, `not the digest of what it sends (${digest})`, reply);
  }
  const announced = baseMediaType(headerValue(reply.headers, 'content-type') ?? '');
  const mediaType = manifestKind(announced) === undefined ? ownMediaType(bytes) : announced;
  if (mediaType !== undefined && manifestKind(mediaType) === 'schema1') refuseSchema1(client, target);
  if (mediaType === undefined || manifestKind(mediaType) === undefined) {
    throw new ImgfsError(
      'protocol',
      `resolve ${referenceOf(client, target)}: the answer of ${reply.url.host} is no image manifest`,
      { ...reply.context, hint: 'check that the host is a registry and that the name is that of an image' },
    );
  }
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
}

/** The request for a manifest by digest, for `fetch`. */
export function fetchManifestCall(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  options: CallOptions,
): Call {
  return {
    ...manifestCall(client, { repository, digest: descriptor.digest }, 'GET', options),
    operation: 'fetch manifest',
  };
}
