/** Lists that never end: tags, repositories and referrers, whichever was asked for. */
import { digestOf } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import type { Fault } from './fault.js';
import { jsonReply, type Reply } from './reply.js';
import { queryOf, type RequestRecord } from './request.js';

function itemsFor(request: RequestRecord, names: readonly string[]): unknown {
  if (request.path.endsWith('/_catalog')) return { repositories: names };
  if (request.path.endsWith('/tags/list')) return { name: request.path.slice(4, -10), tags: names };
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: names.map((name) => ({
      mediaType: mediaTypes.ociManifest,
      digest: digestOf(Buffer.from(name)),
      size: 100,
      artifactType: 'application/vnd.example',
    })),
  };
}

export function endlessPage(fault: Extract<Fault, { kind: 'endless-pages' }>, request: RequestRecord): Reply {
  const page = Number(queryOf(request, 'page') ?? 0);
  const perPage = fault.perPage ?? 100;
  const first = fault.repeat === true ? 0 : page * perPage;
  const names = Array.from({ length: perPage }, (_, at) => `endless-${String(first + at).padStart(12, '0')}`);
  const query = new URLSearchParams(request.query);
  if (fault.repeat !== true) query.set('page', String(page + 1));
  const text = query.size === 0 ? '' : `?${query.toString()}`;
  return jsonReply(200, itemsFor(request, names), { Link: `<${request.path}${text}>; rel="next"` });
}
