/** `v1`, `sha256:…` or `v1@sha256:…`: which image of a repository is meant. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isDigest } from '../../oci/digest.js';
import { isTag } from '../../oci/reference.js';
import type { Target } from '../../store/store.js';

/**
 * The target that a tag, a digest, or both stand for; a digest wins over a tag.
 * @throws ImgfsError `name-invalid`.
 */
export function targetNamed(repository: string, name: string): Target {
  if (isDigest(name)) return { repository, digest: name };
  const at = name.indexOf('@');
  const tag = at < 0 ? name : name.slice(0, at);
  const digest = at < 0 ? undefined : name.slice(at + 1);
  const isPosition = /^@[0-9]{1,9}$/.test(name);
  if (isPosition) return { repository, tag: name };
  if (tag !== '' && !isTag(tag)) refuse(name);
  if (digest === undefined) return { repository, tag };
  if (!isDigest(digest)) refuse(name);
  return { repository, ...(tag === '' ? {} : { tag }), digest };
}

function refuse(name: string): never {
  throw new ImgfsError('name-invalid', `${JSON.stringify(name.slice(0, 200))} is neither a tag nor a digest`);
}
