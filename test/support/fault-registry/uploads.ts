/** Upload sessions: end-4 to end-6, end-11, end-13 and end-14 of the distribution-spec. */
import { randomUUID } from 'node:crypto';
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../../src/oci/digest.js';
import { blobOf, bytesContent, ensureRepository } from './content.js';
import { digestHeaders, isOldDocker, type RegistryContext } from './context.js';
import { emptyReply, errorReply, type Headers, type Reply } from './reply.js';
import { queryOf, type RegistryRequest } from './request.js';

export interface UploadSession {
  readonly id: string;
  readonly repository: string;
  readonly startedAt: number;
  readonly chunks: Uint8Array[];
  size: number;
  /** Length of the newest chunk: only the last one may be below `OCI-Chunk-Min-Length`. */
  newestChunk: number | undefined;
}

/** POST to `blobs/uploads/`: mount, single POST, or a new session. */
export async function handleUploads(
  context: RegistryContext,
  request: RegistryRequest,
  repository: string,
): Promise<Reply> {
  if (request.method !== 'POST') return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  const mounted = tryMount(context, request, repository);
  if (mounted !== undefined) return mounted;
  const session: UploadSession = {
    id: randomUUID(),
    repository,
    startedAt: context.now(),
    chunks: [],
    size: 0,
    newestChunk: undefined,
  };
  ensureRepository(context.content, repository);
  context.uploads.set(session.id, session);
  const digest = queryOf(request, 'digest');
  const single = context.options.singlePost ?? !isOldDocker(context);
  if (digest !== undefined && single) {
    await append(session, request);
    return commit(context, session, digest);
  }
  const minimum = context.options.chunkMinLength;
  return emptyReply(202, {
    ...sessionHeaders(context, session),
    ...(minimum === undefined ? {} : { 'OCI-Chunk-Min-Length': String(minimum) }),
  });
}

/** GET, PATCH, PUT and DELETE of a session. */
export async function handleUpload(
  context: RegistryContext,
  request: RegistryRequest,
  repository: string,
  id: string,
): Promise<Reply> {
  const session = context.uploads.get(id);
  if (session?.repository !== repository) {
    return errorReply(404, 'BLOB_UPLOAD_UNKNOWN', 'blob upload unknown to registry');
  }
  if (!isCurrent(context, request, session)) {
    return errorReply(404, 'BLOB_UPLOAD_INVALID', 'blob upload invalid');
  }
  switch (request.method) {
    case 'GET':
      return emptyReply(204, sessionHeaders(context, session));
    case 'PATCH':
      return patch(context, request, session);
    case 'PUT':
      return put(context, request, session);
    case 'DELETE':
      context.uploads.delete(id);
      return emptyReply(204, { 'Docker-Upload-UUID': id });
    default:
      return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  }
}

function tryMount(context: RegistryContext, request: RegistryRequest, repository: string): Reply | undefined {
  const digest = queryOf(request, 'mount');
  const from = queryOf(request, 'from');
  if (digest === undefined || from === undefined || context.options.mounts === false) return undefined;
  if (!isDigest(digest) || blobOf(context.content, from, digest) === undefined) return undefined;
  ensureRepository(context.content, repository).blobs.add(digest);
  return created(context, repository, digest);
}

/**
 * The `_state` of a location carries the offset, as distribution's does, so that an older location is stale.
 * 2.8.2 refuses every request to a stale one; by the spec the status may be asked for at any of them.
 */
function isCurrent(context: RegistryContext, request: RegistryRequest, session: UploadSession): boolean {
  const state = queryOf(request, '_state');
  if (state === stateOf(context, session, session.size)) return true;
  if (isOldDocker(context) || (request.method !== 'GET' && request.method !== 'DELETE')) return false;
  return state !== undefined;
}

function stateOf(context: RegistryContext, session: UploadSession, offset: number): string {
  const signature = context.sign(`${session.id} ${offset}`);
  return Buffer.from(JSON.stringify({ id: session.id, offset, signature })).toString('base64url');
}

function sessionHeaders(context: RegistryContext, session: UploadSession): Headers {
  const state = stateOf(context, session, session.size);
  return {
    Location: `/v2/${session.repository}/blobs/uploads/${session.id}?_state=${state}`,
    Range: `0-${Math.max(0, session.size - 1)}`,
    'Docker-Upload-UUID': session.id,
  };
}

function created(context: RegistryContext, repository: string, digest: Digest): Reply {
  return emptyReply(201, {
    Location: `/v2/${repository}/blobs/${digest}`,
    ...digestHeaders(context, digest),
  });
}

/** Take the body in; what arrived before a cut stays, as in distribution's file-system driver. */
async function append(session: UploadSession, request: RegistryRequest): Promise<void> {
  for await (const chunk of request.chunks()) {
    session.chunks.push(chunk);
    session.size += chunk.length;
  }
}

/** Content-Range of an upload has no unit: `start-end` (distribution-spec, "Pushing a blob in chunks"). */
function misplaced(request: RegistryRequest, session: UploadSession): boolean {
  const match = /^(\d+)-(\d+)$/.exec(request.headers['content-range'] ?? '');
  return match !== null && Number(match[1]) !== session.size;
}

function outOfOrder(context: RegistryContext, session: UploadSession): Reply {
  return errorReply(
    416,
    'BLOB_UPLOAD_INVALID',
    'chunk does not start where the upload ends',
    sessionHeaders(context, session),
  );
}

async function patch(
  context: RegistryContext,
  request: RegistryRequest,
  session: UploadSession,
): Promise<Reply> {
  // 2.8.2 takes a chunk from the wrong place and appends it: the digest at the end is what tells.
  if (!isOldDocker(context) && misplaced(request, session)) return outOfOrder(context, session);
  if ((session.newestChunk ?? Infinity) < (context.options.chunkMinLength ?? 0)) {
    return errorReply(400, 'SIZE_INVALID', 'the chunk before was shorter than OCI-Chunk-Min-Length');
  }
  const before = session.size;
  await append(session, request);
  session.newestChunk = session.size - before;
  return emptyReply(202, sessionHeaders(context, session));
}

async function put(
  context: RegistryContext,
  request: RegistryRequest,
  session: UploadSession,
): Promise<Reply> {
  if (!isOldDocker(context) && misplaced(request, session)) return outOfOrder(context, session);
  await append(session, request);
  return commit(context, session, queryOf(request, 'digest') ?? '');
}

function commit(context: RegistryContext, session: UploadSession, digest: string): Reply {
  const bytes = Buffer.concat(session.chunks);
  if (!isDigest(digest) || digestOf(bytes, digestAlgorithm(digest)) !== digest) {
    return errorReply(
      400,
      'DIGEST_INVALID',
      'provided digest did not match uploaded content',
      {},
      { digest },
    );
  }
  context.uploads.delete(session.id);
  context.content.blobs.set(digest, bytesContent(bytes));
  ensureRepository(context.content, session.repository).blobs.add(digest);
  return created(context, session.repository, digest);
}
