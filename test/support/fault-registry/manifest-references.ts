/** A manifest is taken only when everything it names is there, as registries check it. */
import { isForeignLayer, type ManifestKind } from '../../../src/oci/media-type.js';
import type { Digest } from '../../../src/oci/digest.js';
import type { RegistryContent } from './content.js';
import { errorReply, type Reply } from './reply.js';

interface LooseDescriptor {
  readonly mediaType?: unknown;
  readonly digest?: unknown;
}

function descriptors(value: unknown): LooseDescriptor[] {
  const list: unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value];
  return list.filter((item): item is LooseDescriptor => typeof item === 'object' && item !== null);
}

/** The error for the first blob or child that the repository lacks. `subject` may be missing, by the spec. */
export function missingReference(
  content: RegistryContent,
  name: string,
  manifest: Record<string, unknown>,
  kind: ManifestKind,
): Reply | undefined {
  const repository = content.repositories.get(name);
  if (kind === 'index') {
    const child = descriptors(manifest['manifests']).find(
      (item) => repository?.manifests.has(item.digest as Digest) !== true,
    );
    return child === undefined
      ? undefined
      : errorReply(404, 'MANIFEST_UNKNOWN', 'manifest unknown', {}, { digest: child.digest });
  }
  const named = [
    ...descriptors(manifest['config']),
    ...descriptors(manifest['layers']),
    ...descriptors(manifest['blobs']),
  ];
  const missing = named.find(
    (item) =>
      repository?.blobs.has(item.digest as Digest) !== true && !isForeignLayer(String(item.mediaType)),
  );
  return missing === undefined
    ? undefined
    : errorReply(404, 'MANIFEST_BLOB_UNKNOWN', 'blob unknown to registry', {}, { digest: missing.digest });
}
