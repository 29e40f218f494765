/**
 * Manifests out of bytes: image-spec manifest.md, image-index.md; Docker image manifest v2 schema 2 and list.
 *
 * A document is refused when two readers could disagree about what it is (CVE-2021-41190). Its bytes stay readable
 * as they are; only what is derived from them is not offered.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from './descriptor.js';
import { parseUntrustedJson } from './json.js';
import {
  asObject,
  field,
  optionalArray,
  optionalString,
  optionalStringMap,
  refuseCaseVariants,
  refuseField,
  type JsonObject,
} from './json-fields.js';
import type { Manifest } from './manifest.js';
import { baseMediaType, manifestKind, mediaTypes, type ManifestKind } from './media-type.js';
import { parseDescriptor } from './parse-descriptor.js';

/** distribution-spec: registries should take manifests of 4 MiB; larger ones are refused by most (CVE-2020-1702). */
export const maxManifestBytes = 4 * 1024 * 1024;

const knownKeys = [
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'manifests',
  'blobs',
  'subject',
  'annotations',
  'fsLayers',
  'history',
] as const;

/** Fields that tell kinds apart, and the ones each kind may have. */
const tellingKeys = ['config', 'layers', 'manifests', 'blobs', 'fsLayers', 'history'] as const;
const allowedKeys: Readonly<Record<'image' | 'index' | 'artifact', readonly string[]>> = {
  image: ['config', 'layers'],
  index: ['manifests'],
  artifact: ['blobs'],
};

/** Types that servers give to anything: they say nothing. */
const meaninglessTypes = new Set(['', 'application/json', 'application/octet-stream', 'text/plain']);

/** Limits and words for messages. */
export interface ParseManifestOptions {
  /** For messages; default `manifest`. */
  readonly what?: string;
  /** Default {@link maxManifestBytes}. */
  readonly maxBytes?: number;
}

/**
 * Parse a manifest. `mediaType` is what the descriptor or the `Content-Type` header says, if anything.
 * @throws ImgfsError `too-large`; `invalid-content` when it is malformed, ambiguous, or not what `mediaType` says;
 *   `unsupported` for Docker schema 1.
 */
export function parseManifest(
  bytes: Uint8Array,
  mediaType?: string,
  options: ParseManifestOptions = {},
): Manifest {
  const what = options.what ?? 'manifest';
  const parsed = parseUntrustedJson(bytes, { what, maxBytes: options.maxBytes ?? maxManifestBytes });
  const document = asObject(parsed, what);
  refuseCaseVariants(document, knownKeys, what);
  const type = documentType(document, mediaType, what);
  refuseForeignKeys(document, type.kind, what);
  return build(document, type, what);
}

interface DocumentType {
  readonly kind: 'image' | 'index' | 'artifact';
  readonly mediaType: string;
}

function documentType(document: JsonObject, given: string | undefined, what: string): DocumentType {
  const header = given === undefined ? '' : baseMediaType(given);
  const outer = meaninglessTypes.has(header) ? undefined : header;
  const inner = optionalString(document, 'mediaType', what) || undefined;
  const mediaType = outer ?? inner;
  const kind = mediaType === undefined ? kindByFields(document, what) : manifestKind(mediaType);
  if (kind === 'schema1' || field(document, 'schemaVersion') === 1) refuseSchema1(what);
  if (outer !== undefined && inner !== undefined && outer !== inner) {
    refuseField(what, `it says ${JSON.stringify(inner)}, but it came as ${JSON.stringify(outer)}`);
  }
  if (kind === undefined) refuseField(what, `${JSON.stringify(mediaType)} is not the type of a manifest`);
  checkSchemaVersion(document, what);
  return { kind, mediaType: mediaType ?? (kind === 'index' ? mediaTypes.ociIndex : mediaTypes.ociManifest) };
}

/** mediaType is optional in OCI manifests; the fields decide then, if they can. */
function kindByFields(document: JsonObject, what: string): ManifestKind {
  const present = tellingKeys.filter((key) => field(document, key) !== undefined);
  if (present.includes('fsLayers')) return 'schema1';
  if (present.includes('manifests')) return 'index';
  if (present.includes('config')) return 'image';
  return refuseField(what, 'neither an image manifest nor an index: config and manifests are missing');
}

function checkSchemaVersion(document: JsonObject, what: string): void {
  const version = field(document, 'schemaVersion');
  if (version !== undefined && version !== 2) refuseField(`${what}.schemaVersion`, 'not 2');
}

function refuseSchema1(what: string): never {
  throw new ImgfsError('unsupported', `parse ${what}: Docker schema 1 manifests are not supported`, {
    hint: 'push the image again with a client of 2017 or later, or convert it with skopeo copy --format oci',
  });
}

function refuseForeignKeys(document: JsonObject, kind: DocumentType['kind'], what: string): void {
  for (const key of tellingKeys) {
    if (field(document, key) === undefined || allowedKeys[kind].includes(key)) continue;
    refuseField(what, `ambiguous: an ${kind} manifest with ${key}`);
  }
}

function build(document: JsonObject, { kind, mediaType }: DocumentType, what: string): Manifest {
  const artifactType = optionalString(document, 'artifactType', what);
  const subject = field(document, 'subject');
  const common = {
    mediaType,
    ...(artifactType === undefined || artifactType === '' ? {} : { artifactType }),
    ...(subject === undefined ? {} : { subject: parseDescriptor(subject, `${what}.subject`) }),
    annotations: optionalStringMap(document, 'annotations', what) ?? {},
  };
  switch (kind) {
    case 'index':
      return { kind, ...common, manifests: descriptors(document, 'manifests', what) };
    case 'artifact':
      return { kind, ...common, blobs: descriptors(document, 'blobs', what) };
    case 'image':
      return {
        kind,
        ...common,
        config: parseDescriptor(field(document, 'config'), `${what}.config`),
        layers: descriptors(document, 'layers', what),
      };
  }
}

/** Absent and null lists are empty: Go writes null for an empty slice. */
function descriptors(document: JsonObject, key: string, what: string): readonly Descriptor[] {
  return (optionalArray(document, key, what) ?? []).map((value, index) =>
    parseDescriptor(value, `${what}.${key}[${index}]`),
  );
}
