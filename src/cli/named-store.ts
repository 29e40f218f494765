/** Local stores with the name they have at the root of a mount: from `--store NAME=TRANSPORT:PATH` or a configuration. */
import { resolve } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import { parseEngineName } from '../store/engine-name.js';
import { parseLocation } from '../store/location.js';
import type { NamedStore } from './mount/mount-settings.js';

const namePattern = /^[A-Za-z0-9_][A-Za-z0-9_-]*$/;

/**
 * A store by name and location; paths are made absolute from `base`.
 * @throws ImgfsError `usage` naming what is wrong, and with `what` where it stands.
 */
export function namedStore(name: string, location: string, base: string, what: string): NamedStore {
  if (!namePattern.test(name)) {
    throw new ImgfsError('usage', `${what}: ${JSON.stringify(name)} is no name of a store`, {
      hint: 'a name has letters, digits, - and _, and no dot',
    });
  }
  const colon = location.indexOf(':');
  if (colon < 1) {
    throw new ImgfsError('usage', `${what}: ${JSON.stringify(location)} has no transport`, {
      hint: `write ${name}=oci:${location}`,
    });
  }
  const parsed = parseLocation(location);
  if (parsed.transport === 'docker') {
    throw new ImgfsError(
      'usage',
      `${what}: ${JSON.stringify(location)} is a registry: every mount has all of them`,
      {
        hint: 'name a local store: oci: oci-archive: docker-archive: dir: containers-storage: containerd: docker-daemon: tarball: sif:',
      },
    );
  }
  const { transport } = parsed;
  // Engines have a place of their own; what they are given is absolute.
  if ('name' in parsed) {
    parseEngineName(parsed.name);
    return { name, location };
  }
  const rest = location.slice(colon + 1);
  const paths = transport === 'tarball' ? rest.split(':') : [rest];
  return { name, location: `${transport}:${paths.map((path) => resolve(base, path)).join(':')}` };
}

/** `NAME=TRANSPORT:PATH`. @throws ImgfsError `usage`. */
export function parseNamedStore(text: string): NamedStore {
  const equals = text.indexOf('=');
  if (equals < 1) {
    throw new ImgfsError('usage', `--store ${JSON.stringify(text)} is not NAME=TRANSPORT:PATH`, {
      hint: 'for example --store mine=oci:./layout; a name has letters, digits, - and _, and no dot',
    });
  }
  const name = text.slice(0, equals);
  return namedStore(name, text.slice(equals + 1), process.cwd(), `--store ${name}`);
}
