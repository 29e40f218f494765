/** Which `[[registry]]` table speaks for a repository, and what its locations make of the name. */
import { isRegistryHost, isRepositoryName } from '../../../oci/reference.js';
import { unusable } from './read-file.js';
import type { RegistryTable } from './registries-conf.js';

/** A repository at a registry; `repository` is '' where only the registry is meant. */
export interface Place {
  readonly registry: string;
  readonly repository: string;
}

/** The table with the longest matching prefix, or undefined. */
export function matchRegistry(tables: readonly RegistryTable[], place: Place): RegistryTable | undefined {
  let best: RegistryTable | undefined;
  for (const table of tables) {
    refuseTagPrefix(table, place);
    const longer = best === undefined || table.prefix.length > best.prefix.length;
    if (longer && restBehind(table.prefix, place) !== undefined) best = table;
  }
  return best;
}

/**
 * Prefixes may name one tag or digest. Mirrors and blocks of single tags cannot be expressed here, and passing over
 * one in silence could open what was blocked.
 */
function refuseTagPrefix(table: RegistryTable, place: Place): void {
  const name = `${place.registry}/${place.repository}`;
  const { prefix } = table;
  if (prefix.startsWith(name) && /^[:@]/.test(prefix.slice(name.length)) && place.repository !== '') {
    throw unusable(
      table.origin,
      `the prefix ${prefix} names a single tag or digest, which imgfs cannot follow`,
    );
  }
}

/**
 * What comes behind the prefix: '', `/name…`, or `:port/name…` behind a wildcard, which stands for host names
 * without their port. Undefined when the prefix does not match.
 */
function restBehind(prefix: string, place: Place): string | undefined {
  const path = place.repository === '' ? '' : `/${place.repository}`;
  if (prefix.startsWith('*.')) {
    const { name, port } = splitPort(place.registry);
    return name.endsWith(prefix.slice(1)) ? port + path : undefined;
  }
  const whole = place.registry + path;
  if (!whole.startsWith(prefix)) return undefined;
  const rest = whole.slice(prefix.length);
  return rest === '' || rest.startsWith('/') ? rest : undefined;
}

function splitPort(registry: string): { name: string; port: string } {
  const port = /:[0-9]+$/.exec(registry)?.[0] ?? '';
  return { name: registry.slice(0, registry.length - port.length), port };
}

/**
 * The place behind a location of the table: its prefix replaced by the location. The same place where the table has
 * no location.
 * @throws ImgfsError `config` when the outcome is no repository name.
 */
export function relocate(table: RegistryTable, location: string | undefined, place: Place): Place {
  const rest = restBehind(table.prefix, place);
  if (location === undefined || rest === undefined) return place;
  const whole = location + rest;
  const slash = whole.indexOf('/');
  const registry = slash < 0 ? whole : whole.slice(0, slash);
  const repository = slash < 0 ? '' : whole.slice(slash + 1);
  // A prefix may be a whole repository; its location is one too then.
  const isName = repository === '' ? place.repository === '' : isRepositoryName(repository);
  if (!isRegistryHost(registry) || !isName) {
    throw unusable(
      table.origin,
      `the prefix ${table.prefix} turns ${place.registry}/${place.repository} into ${whole}`,
    );
  }
  return { registry, repository };
}
