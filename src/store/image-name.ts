/**
 * Names of images inside a local store, as repository and tag.
 *
 * A layout or archive says a name in one text: a bare tag (skopeo, umoci), a full name (linuxkit, containerd), or
 * anything else its grammar allows (`v1+build`). Readers and askers pass through the same function, so that they meet.
 */
import { isImgfsError } from '../errors/imgfs-error.js';
import { isDigest } from '../oci/digest.js';
import { isTag, parseReference, type Reference } from '../oci/reference.js';
import type { Target } from './store.js';

/** A repository of a local store (`''` or `docker.io/library/alpine`) and a tag in it. */
export interface ImageName {
  readonly repository: string;
  readonly tag: string;
}

/** Repository name of a reference in a local store: the name with its registry. */
export function repositoryOf(reference: Reference): string {
  return `${reference.registry}/${reference.repository}`;
}

/** A full name, `alpine` and `docker.io/library/alpine:latest` alike; undefined when the text is no reference. */
export function parseFullName(text: string): ImageName | undefined {
  try {
    const reference = parseReference(text);
    return { repository: repositoryOf(reference), tag: reference.tag ?? 'latest' };
  } catch (error) {
    if (isImgfsError(error, 'name-invalid')) return undefined;
    throw error;
  }
}

/** As {@link parseFullName}, for lists that hold names with digests too: those are no tags. */
export function parseTagName(text: string): ImageName | undefined {
  // Kubernetes names images by the digest of their config as well.
  return text.includes('@') || isDigest(text) ? undefined : parseFullName(text);
}

/** The name a text of a layout stands for: one word is a tag, a reference is a full name, the rest is kept as it is. */
export function parseImageName(text: string): ImageName {
  if (isTag(text)) return { repository: '', tag: text };
  return parseFullName(text) ?? { repository: '', tag: text };
}

/** What is asked for by the text behind the path: `@N`, `@sha256:<hex>`, a tag or a full name. */
export function parseImageTarget(text: string): Target {
  if (/^@[0-9]{1,9}$/.test(text)) return { repository: '', tag: text };
  const digest = text.slice(1);
  if (text.startsWith('@') && isDigest(digest)) return { repository: '', digest };
  return parseImageName(text);
}

/** The number in `@N`: the position of an image in its store; undefined for every other tag. */
export function imagePosition(tag: string): number | undefined {
  return /^@[0-9]{1,9}$/.test(tag) ? Number(tag.slice(1)) : undefined;
}
