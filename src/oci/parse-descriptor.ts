/** Descriptors out of parsed JSON, checked field by field (image-spec descriptor.md). */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from './descriptor.js';
import { digestAlgorithm, digestOf, isDigest, type Digest } from './digest.js';
import {
  asObject,
  field,
  optionalObject,
  optionalString,
  optionalStringMap,
  optionalStrings,
  refuseCaseVariants,
  refuseField,
  requiredSize,
  requiredString,
} from './json-fields.js';
import { parsePlatformObject } from './platform.js';

const knownKeys = [
  'mediaType',
  'digest',
  'size',
  'urls',
  'annotations',
  'data',
  'artifactType',
  'platform',
] as const;

/**
 * Parse one descriptor; `where` names it in messages.
 * @throws ImgfsError `invalid-content` for a missing or malformed field. Unknown keys are ignored.
 */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  const object = asObject(value, where);
  refuseCaseVariants(object, knownKeys, where);
  const annotations = optionalStringMap(object, 'annotations', where);
  const artifactType = optionalString(object, 'artifactType', where);
  const data = optionalString(object, 'data', where);
  const urls = optionalStrings(object, 'urls', where);
  const platform = optionalObject(object, 'platform', where);
  return {
    mediaType: parseMediaType(object, where),
    digest: parseDigestField(object, 'digest', where),
    size: requiredSize(object, 'size', where),
    ...(annotations === undefined ? {} : { annotations }),
    ...(artifactType === undefined || artifactType === '' ? {} : { artifactType }),
    ...(data === undefined || data === '' ? {} : { data: decodeBase64(data, `${where}.data`) }),
    ...(urls === undefined ? {} : { urls }),
    ...(platform === undefined ? {} : { platform: parsePlatformObject(platform, `${where}.platform`) }),
  };
}

/** A media type that is safe to put in a header or an attribute: RFC 6838 names have no spaces or controls. */
function parseMediaType(object: Readonly<Record<string, unknown>>, where: string): string {
  const mediaType = requiredString(object, 'mediaType', where);
  return /^[\x20-\x7e]{1,255}$/.test(mediaType)
    ? mediaType
    : refuseField(`${where}.mediaType`, 'not a media type');
}

/** The digest in field `key`. @throws ImgfsError `invalid-content`. */
export function parseDigestField(
  object: Readonly<Record<string, unknown>>,
  key: string,
  where: string,
): Digest {
  const value = field(object, key);
  return isDigest(value) ? value : refuseField(`${where}.${key}`, 'not a digest that can be verified');
}

function decodeBase64(text: string, where: string): Uint8Array {
  // Buffer.from skips what it does not know; only canonical text may stand for bytes.
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : refuseField(where, 'not base64');
}

/**
 * The embedded bytes of a descriptor, verified; undefined when it has none. Verified when asked for, not when parsed:
 * hashing what nobody reads would cost a request of a 4 MiB manifest 10 ms.
 * @throws ImgfsError `integrity` when they do not match size and digest.
 */
export function embeddedData(descriptor: Descriptor): Uint8Array | undefined {
  const { data, digest, size } = descriptor;
  if (data === undefined) return undefined;
  if (data.length === size && digestOf(data, digestAlgorithm(digest)) === digest) return data;
  throw new ImgfsError('integrity', `read embedded data of ${digest}: it does not match size and digest`, {
    digest,
    operation: 'read embedded data',
  });
}
