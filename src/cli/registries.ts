/** Opening stores from settings: registries as this machine's configuration says, local stores by location. */
import { createOfflineStore } from '../store/offline-store.js';
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import { createStoreDirectory, type StoreDirectory, type StoreFactory } from '../image/stores.js';
import type { CredentialSource } from '../store/registry/credential.js';
import type { EndpointResolver } from '../store/registry/endpoint.js';
import { parsePlatform } from '../oci/platform.js';
import { parseLocation } from '../store/location.js';
import { processEnvironment } from '../store/registry/config/environment.js';
import type { OpenStoreOptions } from '../store/open.js';
import type { ImageStore } from '../store/store.js';
import type { RegistryStore } from '../store/registry/registry-store.js';
import { credentialSource, registryConfig } from './access.js';
import type { Settings } from './settings.js';

/** A registry with the given credentials; nothing is sent yet. */
export async function openRegistryWith(
  host: string,
  settings: Settings,
  endpoints: EndpointResolver,
  credentials: CredentialSource,
): Promise<RegistryStore> {
  const { openRegistryStore } = await import('../store/registry/registry-store.js');
  return openRegistryStore(host, { endpoints, credentials, options: { retries: settings.retryTimes } });
}

/** What opening an archive needs to know of the settings. */
export function archiveOptions(settings: Settings): Pick<OpenStoreOptions, 'spoolDirectory' | 'platform'> {
  return {
    spoolDirectory: join(settings.cacheDirectory, 'spool'),
    ...(settings.platform === undefined ? {} : { platform: parsePlatform(settings.platform) }),
  };
}

/** Opens a local store by its location. @throws ImgfsError `unsupported` for a transport that is not local. */
export async function openLocalStore(location: string, settings: Settings): Promise<ImageStore> {
  const { openStore } = await import('../store/open.js');
  return openStore(parseLocation(location), archiveOptions(settings));
}

/** Load what the first request to a registry, the first tree of layers and the first look into these stores need. */
export async function prepareStores(settings: Settings, locals: readonly LocalStore[]): Promise<void> {
  if (!settings.offline) {
    const { rehearseRequest } = await import('../store/registry/rehearsal.js');
    await rehearseRequest(processEnvironment());
  }
  const { rehearseMerge } = await import('../layer/merge/rehearse-merge.js');
  await rehearseMerge();
  if (locals.length === 0) return;
  const { loadStoreCode } = await import('../store/open.js');
  for (const { location } of locals) await loadStoreCode(parseLocation(location));
}

async function openExpected(location: string, settings: Settings): Promise<ImageStore> {
  try {
    return await openLocalStore(location, settings);
  } catch (error) {
    if (!isImgfsError(error, 'not-found')) throw error;
    const hint = error.hint ?? 'mount again when it is there, or without it';
    throw new ImgfsError('unavailable', error.message, { cause: error, hint });
  }
}

export interface LocalStore {
  readonly name: string;
  readonly location: string;
  /** It was named as one that is there: when it is not, that is an outage, not an answer. */
  readonly expected?: boolean;
}

/** Every store of one mount or command; each is opened at its first use. */
export function openStores(settings: Settings, locals: readonly LocalStore[]): StoreDirectory {
  const config = registryConfig(settings);
  const openRegistry = (host: string): Promise<ImageStore> =>
    settings.offline
      ? Promise.resolve(createOfflineStore('docker', `docker://${host}`))
      : openRegistryWith(host, settings, config.endpoints, credentialSource(settings, config, host));
  const factories = locals.map(({ name, location, expected }): [string, StoreFactory] => [
    name,
    () => (expected === true ? openExpected(location, settings) : openLocalStore(location, settings)),
  ]);
  return createStoreDirectory({ openRegistry, locals: new Map(factories) });
}
