/**
 * What follows the colon of an engine's transport:
 *
 *     alpine:3.20                        an image of the engine's usual place
 *     /var/lib/containers/storage        another place, as a whole
 *     [/path]alpine:3.20                 an image of another place
 *     [overlay@/path+/run:options]name   containers/image's form: driver, root, run root
 *     [k8s.io@/var/lib/containerd]name   a namespace of containerd
 *
 * An image is a name, `@N` (its position) or `@sha256:<hex>`.
 */
import { ImgfsError } from '../errors/imgfs-error.js';

export interface EngineName {
  /** Driver or namespace. */
  readonly part?: string;
  /** Directory or socket. */
  readonly root?: string;
  readonly image?: string;
}

/** @throws ImgfsError `usage` for a bracket that does not close or holds nothing that can be meant. */
export function parseEngineName(text: string): EngineName {
  if (text.startsWith('/')) return { root: text };
  if (!text.startsWith('[')) return text === '' ? {} : { image: text };
  const end = text.indexOf(']');
  const place = text.slice(1, Math.max(end, 1));
  const [, part, path] = /^(?:([^@/]*)@)?(\/[^+:]*)?(?:[+:].*)?$/.exec(place) ?? [];
  if (end < 0 || (part === undefined && path === undefined)) {
    throw new ImgfsError('usage', `not a place of an engine: ${JSON.stringify(text.slice(0, 300))}`, {
      hint: 'write [/path], [DRIVER@/path] or [NAMESPACE@/path], and the image behind it',
    });
  }
  const image = text.slice(end + 1);
  return {
    ...(part === undefined || part === '' ? {} : { part }),
    ...(path === undefined ? {} : { root: path }),
    ...(image === '' ? {} : { image }),
  };
}

/** The name of the store without the image: what follows the colon for all of it. */
export function wholeEngineName(text: string): string {
  const { part, root } = parseEngineName(text);
  if (part === undefined) return root ?? '';
  return `[${part}@${root ?? ''}]`;
}
