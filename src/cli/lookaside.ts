/** Where signatures beside registries lie: as `--lookaside` says, else as registries.d of this machine. */
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { openRegistriesD, type RegistriesD } from '../store/lookaside/registries-d.js';
import { processEnvironment } from '../store/registry/config/environment.js';
import type { Arguments } from './command.js';

export function registriesDFor(args: Arguments): RegistriesD {
  const given = args['lookaside'];
  if (typeof given !== 'string') return openRegistriesD(processEnvironment());
  const base = /^[a-z]+:\/\//.test(given) ? given : pathToFileURL(resolve(given)).href;
  return { placeOf: async () => ({ read: base, write: base }) };
}
