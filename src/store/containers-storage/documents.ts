/** `images.json` and `layers.json` of containers/storage (images.go, layers.go): what we use of them, checked. */
import { isDigest, type Digest } from '../../oci/digest.js';
import {
  asObject,
  field,
  optionalObject,
  optionalString,
  optionalStrings,
  refuseField,
  requiredString,
} from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';

/** 500 images of 40 layers are 10 MB. */
export const maxDocumentBytes = 64 * 1024 * 1024;

export interface StoredImage {
  readonly id: string;
  /** Of the manifest; missing in storages of old versions. */
  readonly digest: Digest | undefined;
  readonly names: readonly string[];
  /** Id of the top layer; undefined for an image without layers. */
  readonly topLayer: string | undefined;
  readonly bigData: readonly BigData[];
  /** Lengths of the signatures of each manifest, which lie one behind the other in one file. */
  readonly signatureSizes: ReadonlyMap<Digest, readonly number[]>;
}

/** A small file of an image: a manifest, the config, signatures. */
export interface BigData {
  readonly key: string;
  readonly digest: Digest | undefined;
  readonly size: number | undefined;
}

export interface StoredLayer {
  readonly id: string;
  readonly parent: string | undefined;
  /** Of the tar, uncompressed; undefined while it is unknown. */
  readonly diffDigest: Digest | undefined;
  /** Of the tar, in bytes. */
  readonly diffSize: number | undefined;
  /** It is being unpacked, or that was broken off. */
  readonly isIncomplete: boolean;
}

function list(bytes: Uint8Array, what: string): readonly unknown[] {
  const document = parseUntrustedJson(bytes, { what, maxBytes: maxDocumentBytes });
  return document === null ? [] : Array.isArray(document) ? document : refuseField(what, 'not a list');
}

/** Ids become paths: 64 hex digits, and whatever else an engine chose that cannot lead anywhere. */
function id(value: string, where: string): string {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(value) ? value : refuseField(where, 'not an id');
}

/** @throws ImgfsError `invalid-content`, `too-large`. */
export function parseImages(bytes: Uint8Array, what: string): readonly StoredImage[] {
  return list(bytes, what).map((value, at) => {
    const where = `${what}[${at}]`;
    const object = asObject(value, where);
    const digest = optionalString(object, 'digest', where);
    const topLayer = optionalString(object, 'layer', where);
    const sizes = optionalObject(object, 'big-data-sizes', where) ?? {};
    const digests = optionalObject(object, 'big-data-digests', where) ?? {};
    return {
      id: id(requiredString(object, 'id', where), `${where}.id`),
      digest: isDigest(digest) ? digest : undefined,
      names: optionalStrings(object, 'names', where) ?? [],
      signatureSizes: signatureSizes(optionalString(object, 'metadata', where)),
      topLayer: topLayer === undefined || topLayer === '' ? undefined : id(topLayer, `${where}.layer`),
      bigData: (optionalStrings(object, 'big-data-names', where) ?? []).map((key) => {
        const [size, known] = [field(sizes, key), field(digests, key)];
        return {
          key,
          size: typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : undefined,
          digest: isDigest(known) ? known : undefined,
        };
      }),
    };
  });
}

/**
 * `signatures-sizes` of the metadata that containers/image keeps as text (storage/storage_image.go). Others put something
 * else there, which says nothing about signatures.
 */
function signatureSizes(metadata: string | undefined): ReadonlyMap<Digest, readonly number[]> {
  const found = new Map<Digest, readonly number[]>();
  if (metadata === undefined || !metadata.startsWith('{')) return found;
  let sizes: unknown;
  try {
    sizes = (JSON.parse(metadata) as { 'signatures-sizes'?: unknown })['signatures-sizes'];
  } catch {
    return found;
  }
  if (typeof sizes !== 'object' || sizes === null) return found;
  const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  for (const [digest, list] of Object.entries(sizes))
    if (isDigest(digest) && Array.isArray(list) && list.every(isSize)) found.set(digest, list);
  return found;
}

/** @throws ImgfsError `invalid-content`, `too-large`. */
export function parseLayers(bytes: Uint8Array, what: string): readonly StoredLayer[] {
  return list(bytes, what).map((value, at) => {
    const where = `${what}[${at}]`;
    const object = asObject(value, where);
    const diffDigest = optionalString(object, 'diff-digest', where);
    const diffSize = field(object, 'diff-size');
    const parent = optionalString(object, 'parent', where);
    const flags = optionalObject(object, 'flags', where) ?? {};
    return {
      id: id(requiredString(object, 'id', where), `${where}.id`),
      parent: parent === undefined || parent === '' ? undefined : id(parent, `${where}.parent`),
      diffDigest: isDigest(diffDigest) ? diffDigest : undefined,
      diffSize:
        typeof diffSize === 'number' && Number.isSafeInteger(diffSize) && diffSize >= 0
          ? diffSize
          : undefined,
      isIncomplete: field(flags, 'incomplete') === true,
    };
  });
}

/** File name of big data: its key, or `=` and the key in base64 where that has other characters (images.go). */
export function bigDataFile(key: string): string {
  return /^[a-z0-9.]+$/.test(key) ? key : `=${Buffer.from(key).toString('base64')}`;
}
