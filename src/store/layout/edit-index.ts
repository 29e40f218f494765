/**
 * Changes to index.json, on the document as it was parsed: fields and entries that we do not know stay as they are.
 */
import { parseUntrustedJson } from '../../oci/json.js';
import { asObject, optionalArray, type JsonObject } from '../../oci/json-fields.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { parseFullName, parseImageName, type ImageName } from '../image-name.js';
import { containerdNameAnnotation, entryNames, isSameName, refNameAnnotation } from './image-table.js';
import { maxIndexBytes } from './layout-index.js';

/** Entries as they stand in the file. */
export type RawEntry = JsonObject;

/** index.json, opened for a change. */
export interface IndexDocument {
  readonly entries: readonly RawEntry[];
  /** The bytes with other entries. */
  write(entries: readonly RawEntry[]): Uint8Array;
}

/** @throws ImgfsError `invalid-content`, `too-large`. */
export function readIndexDocument(bytes: Uint8Array): IndexDocument {
  const what = 'index.json';
  const document = asObject(parseUntrustedJson(bytes, { what, maxBytes: maxIndexBytes }), what);
  return {
    entries: (optionalArray(document, 'manifests', what) ?? []).map((entry) => asObject(entry, what)),
    // Object spread defines own properties: a key `__proto__` of the file stays a key.
    write: (entries) => Buffer.from(JSON.stringify({ ...document, manifests: entries })),
  };
}

/** True when nothing was added, removed or changed. Edits keep what they do not touch. */
export function isSameEntries(before: readonly RawEntry[], after: readonly RawEntry[]): boolean {
  return after.length === before.length && after.every((entry, at) => entry === before[at]);
}

function annotationsOf(entry: RawEntry): JsonObject {
  const annotations = entry['annotations'];
  return typeof annotations === 'object' && annotations !== null ? (annotations as JsonObject) : {};
}

/** True when the annotations of an entry give it this name. */
export function hasName(entry: RawEntry, name: ImageName): boolean {
  return entryNames(annotationsOf(entry)).some((other) => isSameName(other, name));
}

/** Annotations that give a name: a bare tag alone, a full name in both places where tools look for one. */
function nameAnnotations({ repository, tag }: ImageName): Record<string, string> {
  if (repository === '') return { [refNameAnnotation]: tag };
  const full = `${repository}:${tag}`;
  return { [refNameAnnotation]: full, [containerdNameAnnotation]: full };
}

function rawDescriptor(descriptor: Descriptor, annotations: Record<string, string>): RawEntry {
  const { mediaType, digest, size, artifactType } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** Point a name at a manifest. Whatever had the name loses it, and leaves when it has no other. */
export function setName(
  entries: readonly RawEntry[],
  name: ImageName,
  descriptor: Descriptor,
): readonly RawEntry[] {
  const kept = removeName(entries, name).filter(
    // The nameless entry of the same manifest is what the named one replaces.
    (entry) => entry['digest'] !== descriptor.digest || Object.keys(annotationsOf(entry)).length > 0,
  );
  return [...kept, rawDescriptor(descriptor, nameAnnotations(name))];
}

/** List a manifest without a name, unless it is listed already. */
export function addUnnamed(entries: readonly RawEntry[], descriptor: Descriptor): readonly RawEntry[] {
  const listed = entries.some((entry) => entry['digest'] === descriptor.digest);
  return listed ? entries : [...entries, rawDescriptor(descriptor, {})];
}

/** Take a name away; an entry that has no other name left goes with it. */
export function removeName(entries: readonly RawEntry[], name: ImageName): readonly RawEntry[] {
  return entries.flatMap((entry) => {
    if (!hasName(entry, name)) return [entry];
    const stripped = stripName(entry, name);
    return entryNames(annotationsOf(stripped)).length === 0 ? [] : [stripped];
  });
}

function stripName(entry: RawEntry, name: ImageName): RawEntry {
  const kept = Object.entries(annotationsOf(entry)).filter(([key, value]) => {
    if (typeof value !== 'string') return true;
    const given =
      key === refNameAnnotation
        ? parseImageName(value)
        : key === containerdNameAnnotation
          ? parseFullName(value)
          : undefined;
    return given === undefined || !isSameName(given, name);
  });
  return { ...entry, annotations: Object.fromEntries(kept) };
}

/** Take a manifest out of a repository: its names there, and its entry when it has no name elsewhere. */
export function removeDigest(
  entries: readonly RawEntry[],
  repository: string,
  digest: Digest,
): readonly RawEntry[] {
  return entries.flatMap((entry) => {
    if (entry['digest'] !== digest) return [entry];
    const names = entryNames(annotationsOf(entry));
    const here = names.filter((name) => name.repository === repository);
    if (here.length === names.length) return [];
    return here.length === 0 ? [entry] : [here.reduce(stripName, entry)];
  });
}
