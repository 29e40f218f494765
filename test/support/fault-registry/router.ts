/** From a request to the handler that answers it. */
import { refuse } from './auth.js';
import { handleBlob } from './blobs.js';
import type { RegistryContext } from './context.js';
import { handleCatalog, handleTags } from './lists.js';
import { handleManifest } from './manifests.js';
import { routeOf } from './paths.js';
import { handleReferrers } from './referrers.js';
import { bytesReply, errorReply, jsonReply, type Reply } from './reply.js';
import type { RegistryRequest } from './request.js';
import { handleStorage } from './storage.js';
import { handleToken } from './token.js';
import { handleUpload, handleUploads } from './uploads.js';

async function answerRegistry(context: RegistryContext, request: RegistryRequest): Promise<Reply> {
  const route = routeOf(request.path);
  if (route === undefined) {
    return bytesReply(404, Buffer.from('404 page not found\n'), { 'Content-Type': 'text/plain' });
  }
  const refusal = refuse(context, request, route);
  if (refusal !== undefined) return refusal;
  switch (route.kind) {
    case 'base':
      return jsonReply(200, {});
    case 'bad-name':
      return errorReply(400, 'NAME_INVALID', 'invalid repository name', {}, { name: route.repository });
    case 'token':
      return handleToken(context, request);
    case 'catalog':
      return handleCatalog(context, request);
    case 'tags':
      return handleTags(context, request, route.repository);
    case 'referrers':
      return handleReferrers(context, request, route.repository, route.digest);
    case 'manifest':
      return handleManifest(context, request, route.repository, route.reference);
    case 'blob':
      return handleBlob(context, request, route.repository, route.digest);
    case 'uploads':
      return handleUploads(context, request, route.repository);
    case 'upload':
      return handleUpload(context, request, route.repository, route.id);
  }
}

/** The stranger is a host that nobody should have been sent to: it takes everything and gives rubbish. */
function answerStranger(request: RegistryRequest): Reply {
  return bytesReply(200, Buffer.from(`stranger: ${request.path}\n`.repeat(64)), {
    'Content-Type': 'application/octet-stream',
  });
}

/** The honest answer to a request, before faults. */
export async function answer(context: RegistryContext, request: RegistryRequest): Promise<Reply> {
  switch (request.role) {
    case 'registry':
      return answerRegistry(context, request);
    case 'token':
      return handleToken(context, request);
    case 'storage':
      return handleStorage(context, request);
    case 'stranger':
      return answerStranger(request);
  }
}
