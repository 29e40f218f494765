/** Indexes into bytes: the one document that imgfs makes itself rather than passes on. */
import type { Descriptor } from './descriptor.js';
import { mediaTypes } from './media-type.js';
import type { Platform } from './platform.js';

/** A descriptor as it stands in a document (image-spec descriptor.md). */
export function descriptorDocument(descriptor: Descriptor): Record<string, unknown> {
  const { platform, data, ...rest } = descriptor;
  return {
    ...rest,
    ...(data === undefined ? {} : { data: Buffer.from(data).toString('base64') }),
    ...(platform === undefined ? {} : { platform: platformDocument(platform) }),
  };
}

function platformDocument({ osVersion, osFeatures, ...rest }: Platform): Record<string, unknown> {
  return {
    ...rest,
    ...(osVersion === undefined ? {} : { 'os.version': osVersion }),
    ...(osFeatures === undefined ? {} : { 'os.features': osFeatures }),
  };
}

/** What an index says besides its children. */
export interface IndexFacts {
  /** Default: the OCI type. */
  readonly mediaType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The bytes of an index over these children; the same for the same input. */
export function indexBytes(manifests: readonly Descriptor[], facts: IndexFacts = {}): Uint8Array {
  const { mediaType = mediaTypes.ociIndex, annotations = {} } = facts;
  const document = {
    schemaVersion: 2,
    mediaType,
    manifests: manifests.map(descriptorDocument),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  return Buffer.from(JSON.stringify(document));
}
