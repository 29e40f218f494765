/**
 * From what a person types to a path of the tree: skopeo's grammar, short names and tree paths are all one to
 * `ls`, `cat` and the others.
 *
 *   docker.io/library/alpine/3.20/manifest.json   a path, as below a mount point
 *   alpine:3.20   ghcr.io/me/app@sha256:…         a reference: its image directory
 *   alpine:3.20/manifest.json                     a file of that directory
 *   alpine:3.20:/etc/os-release                   a path inside the image's root file system
 *   docker://alpine:3.20   oci:dir:tag            skopeo's transports
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import {
  isRegistryHost,
  normalizeRegistry,
  parseReference,
  withDefaultTag,
  type Reference,
} from '../oci/reference.js';
import {
  formatLocation,
  locationTarget,
  parseLocation,
  wholeStore,
  type Location,
  type RegistryLocation,
} from '../store/location.js';
import type { Target } from '../store/store.js';
import { isImageEntryName } from '../vfs/nodes/image-names.js';

/** A local store that an argument names, and the name under which it appears at the root of the tree. */
export interface LocalStoreArgument {
  /** `oci:/abs/path`, without tag. */
  readonly location: string;
}

export interface TreePath {
  /** Components below the root; empty for the root itself. */
  readonly components: readonly string[];
  /** Set when the first component is a local store that has to be opened under that name. */
  readonly store?: LocalStoreArgument;
}

/** Name under which a store given on the command line appears in the tree of this one process. */
export const argumentStoreName = 'store';

function splitPath(path: string): string[] {
  return path.split('/').filter((component) => component !== '' && component !== '.');
}

function refuseDotDot(components: readonly string[], text: string): readonly string[] {
  if (components.includes('..')) throw new ImgfsError('usage', `path with "..": ${JSON.stringify(text)}`);
  return components;
}

/** Components of the image directory of a reference: `docker.io/library/alpine/@tags/3.20`. */
export function imageDirectory(reference: Reference): string[] {
  const base = [reference.registry, ...reference.repository.split('/')];
  if (reference.digest !== undefined) {
    const [algorithm = '', hex = ''] = reference.digest.split(':');
    return [...base, '@digests', algorithm, hex];
  }
  return [...base, '@tags', reference.tag ?? 'latest'];
}

interface SplitArgument {
  /** The reference, or the image's name in a local store. */
  readonly image: string;
  /** Components below the image directory. */
  readonly rest: readonly string[];
}

/**
 * Where the image's name ends: at `:/` (a path in the merged root file system), or before the first component that is
 * an entry of every image directory (`alpine:3.20/manifest.json`).
 */
function splitImage(text: string, whole: string): SplitArgument {
  const inside = text.indexOf(':/');
  if (inside >= 0) {
    const rest = refuseDotDot(splitPath(text.slice(inside + 1)), whole);
    return { image: text.slice(0, inside), rest: ['rootfs', ...rest] };
  }
  const components = text.split('/');
  const entry = components.findIndex((component, index) => index > 0 && isImageEntryName(component));
  if (entry < 0) return { image: text, rest: [] };
  return {
    image: components.slice(0, entry).join('/'),
    rest: refuseDotDot(splitPath(components.slice(entry).join('/')), whole),
  };
}

function fromReference(text: string): TreePath {
  const { image, rest } = splitImage(text.replace(/^docker:\/\//, ''), text);
  return { components: [...imageDirectory(withDefaultTag(parseReference(image))), ...rest] };
}

/** Transports whose images live in files here. `location` keeps the transport's own spelling. */
const localTransports =
  /^(oci|oci-archive|docker-archive|dir|containers-storage|containerd|sif|tarball|docker-daemon):/;

/** As in skopeo, the path ends at the first colon; `dir:` and the like have no image behind it. */
function fromLocalStore(text: string): TreePath {
  const transport = text.slice(0, text.indexOf(':'));
  // Engines have no path before the image, or one in brackets.
  const isEngine = /^(containers-storage|containerd|docker-daemon):/.test(text);
  if (isEngine) {
    const hasBracket = text.startsWith('[', transport.length + 1);
    return fromEngine(text, Math.max(transport.length, hasBracket ? text.indexOf(']') : 0) + 1);
  }
  const colon = text.indexOf(':', transport.length + 1);
  const { image, rest } = splitImage(colon < 0 ? '' : text.slice(colon + 1), text);
  const location = parseLocation(
    image === '' ? text.slice(0, colon < 0 ? undefined : colon) : `${text.slice(0, colon)}:${image}`,
  );
  // A path inside a store of one image is a path inside that image.
  const isSingle = ['dir', 'tarball', 'sif'].includes(transport) && rest.length > 0;
  const target = isSingle ? { repository: '', tag: 'latest' } : locationTarget(location);
  return {
    components: [argumentStoreName, ...(target === undefined ? [] : localImage(target)), ...rest],
    store: { location: formatLocation(wholeStore(asLocal(location))) },
  };
}

/** `containers-storage:[/path]alpine:3.20:/etc`: the image begins at `start`. */
function fromEngine(text: string, start: number): TreePath {
  const { image, rest } = splitImage(text.slice(start), text);
  const location = asLocal(parseLocation(`${text.slice(0, start)}${image}`));
  const target = locationTarget(location);
  return {
    components: [argumentStoreName, ...(target === undefined ? [] : localImage(target)), ...rest],
    store: { location: formatLocation(wholeStore(location)) },
  };
}

function asLocal(location: Location): Exclude<Location, RegistryLocation> {
  if (location.transport !== 'docker') return location;
  throw new ImgfsError('internal', 'a registry is no local store');
}

/** Components of an image inside a local store. */
function localImage({ repository, tag, digest }: Target): string[] {
  const base = splitPath(repository);
  if (digest !== undefined) return [...base, '@digests', ...digest.split(':')];
  return tag === undefined ? base : [...base, '@tags', tag];
}

/** True when the text can only be a path of the tree: its first component is a host, and no tag ends it. */
function isTreePath(text: string): boolean {
  const [head = '', ...rest] = text.split('/');
  if (head === '' || head === '.imgfs' || head === 'blobs') return true;
  // No component ends in a colon: `ghcr.io/me/app:v1:/etc` is a path inside an image.
  if (!isRegistryHost(head) || text.includes(':/')) return false;
  // host alone, or host/… with a component that no reference has: a control name, or no colon and no digest.
  const last = rest.at(-1) ?? '';
  return rest.length === 0 || rest.some((part) => part.startsWith('@')) || !/[:@]/.test(last);
}

/**
 * Understand an argument.
 * @throws ImgfsError `usage` or `name-invalid`.
 */
export function parseTreePath(text: string): TreePath {
  if (localTransports.test(text)) return fromLocalStore(text);
  if (/^[a-z-]+:\/\//.test(text) && !text.startsWith('docker://')) {
    throw new ImgfsError('usage', `unknown transport in ${JSON.stringify(text)}`, {
      hint: 'docker://, oci:, oci-archive:, docker-archive:, dir: are known',
    });
  }
  if (text.startsWith('docker://') || !isTreePath(text)) return fromReference(text);
  const [head, ...rest] = refuseDotDot(splitPath(text), text);
  if (head === undefined) return { components: [] };
  return { components: [isRegistryHost(head) ? normalizeRegistry(head) : head, ...rest] };
}

/** The path inside an image that an argument names (`alpine:3.20:/etc` is `/etc`), else the argument itself. */
export function insidePath(text: string): string {
  const inside = text.indexOf(':/', localTransports.test(text) ? text.indexOf(':') + 2 : 0);
  return inside > 0 && !text.startsWith('docker://', inside - 6) ? text.slice(inside + 1) : text;
}

/** The reference in an argument that must name an image of a registry. */
export function parseImageArgument(text: string): Reference {
  return parseReference(splitImage(text.replace(/^docker:\/\//, ''), text).image);
}
