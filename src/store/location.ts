/**
 * Where an image or a store is, in skopeo's grammar (containers-transports(5)):
 *
 *     docker://registry.example/name:tag     or the reference alone
 *     oci:path[:tag|:name|:@N|:@digest]      oci-archive: the same
 *     docker-archive:path[:name|:@N]
 *     dir:path      tarball:path[:path…]      sif:path
 *     containers-storage:…   docker-daemon:…   containerd:…
 *
 * As in skopeo, a path ends at its first colon; `dir:`, `tarball:` and `sif:` take all of the rest.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import { parseFullName, parseImageTarget } from './image-name.js';
import { parseEngineName, wholeEngineName } from './engine-name.js';
import type { Target, TransportName } from './store.js';

/** An image in a registry. */
export interface RegistryLocation {
  readonly transport: 'docker';
  readonly reference: Reference;
}

/** A store in a file or directory, and maybe an image of it. */
export interface FileLocation {
  readonly transport: 'oci' | 'oci-archive' | 'docker-archive' | 'dir' | 'tarball' | 'sif';
  /** As given: relative paths stay relative. */
  readonly path: string;
  /** Text behind the path; undefined for the only image there is, or for the store as a whole. */
  readonly image?: string;
}

/** An image of a container engine on this machine. */
export interface EngineLocation {
  readonly transport: 'containers-storage' | 'docker-daemon' | 'containerd';
  /** Everything behind the colon: the engine's own grammar. May be empty. */
  readonly name: string;
}

/** Where an image or a store is; `transport` tells which kind. */
export type Location = RegistryLocation | FileLocation | EngineLocation;

/** Every transport, in the order of the help text. */
export const transportNames: readonly TransportName[] = [
  'docker',
  'oci',
  'oci-archive',
  'docker-archive',
  'dir',
  'containers-storage',
  'containerd',
  'docker-daemon',
  'tarball',
  'sif',
];

function usage(text: string, why: string): never {
  throw new ImgfsError('usage', `not an image location: ${JSON.stringify(text.slice(0, 300))}: ${why}`, {
    hint: `write a reference (registry.example/name:tag) or one of ${transportNames.map((name) => `${name}:`).join(' ')}`,
  });
}

/**
 * Parse a location; a text without a known transport is a reference.
 * @throws ImgfsError `usage` for an unknown transport or a missing path, `name-invalid` for a malformed reference.
 */
export function parseLocation(text: string): Location {
  const colon = text.indexOf(':');
  const scheme = colon < 0 ? '' : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const transport = transportNames.find((name) => name === scheme);
  switch (transport) {
    case 'docker':
      if (!rest.startsWith('//')) usage(text, 'docker: is followed by two slashes');
      return { transport, reference: parseReference(rest.slice(2)) };
    case 'oci':
    case 'oci-archive':
    case 'docker-archive':
      return parseFileLocation(text, transport, rest);
    case 'dir':
    case 'tarball':
    case 'sif':
      if (rest === '') usage(text, 'the path is missing');
      return { transport, path: rest };
    case 'containers-storage':
    case 'docker-daemon':
    case 'containerd':
      return { transport, name: rest };
    case undefined:
      return parseBareLocation(text, scheme, rest);
  }
}

function parseFileLocation(
  text: string,
  transport: 'oci' | 'oci-archive' | 'docker-archive',
  rest: string,
): FileLocation {
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  const image = colon < 0 ? '' : rest.slice(colon + 1);
  if (path === '') usage(text, 'the path is missing');
  if (image.startsWith('@') && parseImageTarget(image).tag === image && !/^@[0-9]{1,9}$/.test(image)) {
    usage(text, 'behind @ goes a position or a digest');
  }
  return image === '' ? { transport, path } : { transport, path, image };
}

/** `oic:dir` and `https://…` cannot be meant as references: say so rather than ask a registry. */
function parseBareLocation(text: string, scheme: string, rest: string): RegistryLocation {
  if (rest.startsWith('//')) usage(text, `unknown transport ${JSON.stringify(scheme)}`);
  try {
    return { transport: 'docker', reference: parseReference(text) };
  } catch (error) {
    if (/^[a-z][a-z0-9-]*$/.test(scheme) && /^[./~]/.test(rest)) {
      usage(text, `unknown transport ${JSON.stringify(scheme)}`);
    }
    throw error;
  }
}

/** The text `parseLocation` reads; registries in their full form. */
export function formatLocation(location: Location): string {
  if (location.transport === 'docker') return `docker://${formatReference(location.reference)}`;
  if ('name' in location) return `${location.transport}:${location.name}`;
  return [location.transport, location.path, location.image].filter((part) => part !== undefined).join(':');
}

/**
 * Which image of the opened store is meant; undefined when the location names the store only. In docker-archives and
 * engines a word alone is a name (`alpine` is docker.io/library/alpine:latest), in layouts it is a tag.
 */
export function locationTarget(location: Location): Target | undefined {
  if (location.transport === 'docker') {
    const { repository, tag, digest } = location.reference;
    return {
      repository,
      ...(tag === undefined ? {} : { tag }),
      ...(digest === undefined ? {} : { digest }),
    };
  }
  const { transport } = location;
  const { image } = 'name' in location ? parseEngineName(location.name) : location;
  if (image === undefined) return undefined;
  const isFullName = 'name' in location || transport === 'docker-archive';
  const full = isFullName && !image.startsWith('@') ? parseFullName(image) : undefined;
  return full ?? parseImageTarget(image);
}

/** The same store without the image. */
export function wholeStore(location: FileLocation | EngineLocation): FileLocation | EngineLocation {
  return 'name' in location
    ? { transport: location.transport, name: wholeEngineName(location.name) }
    : { transport: location.transport, path: location.path };
}
