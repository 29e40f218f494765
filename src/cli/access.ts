/** Who we are and how registries are reached: this machine's files, with what the options say put before them. */
import { ImgfsError } from '../errors/imgfs-error.js';
import { normalizeRegistry } from '../oci/reference.js';
import { openRegistryConfig, type RegistryConfig } from '../store/registry/config/registry-config.js';
import type { Credential, CredentialSource } from '../store/registry/credential.js';
import type { Settings } from './settings.js';

/** Configuration of registries as the options and this machine say. Nothing is read yet. */
export function registryConfig(settings: Settings): RegistryConfig {
  return openRegistryConfig({
    ...(settings.authFile === undefined ? {} : { authFile: settings.authFile }),
    ...(settings.certificateDirectory === undefined ? {} : { certDir: settings.certificateDirectory }),
    ...(settings.tlsVerify === undefined ? {} : { tlsVerify: settings.tlsVerify }),
  });
}

/** The pair in `--creds USER:PASSWORD`. @throws ImgfsError `usage`. */
export function credentialsFromOption(text: string): Credential & { readonly kind: 'basic' } {
  const colon = text.indexOf(':');
  if (colon < 1) throw new ImgfsError('usage', '--creds is not USER:PASSWORD');
  return { kind: 'basic', username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/**
 * Credentials for the store of `registry` as the options say: none at all; the given pair, for that registry alone; or
 * files and helpers. Mirrors are asked for by their own names, and what was given for the registry is not theirs.
 */
export function credentialSource(
  settings: Settings,
  config: RegistryConfig,
  registry: string,
): CredentialSource {
  if (settings.anonymous) {
    return { find: async () => ({ credential: { kind: 'anonymous' }, origin: '--no-creds' }) };
  }
  if (settings.credentials === undefined) return config.credentials;
  const credential = credentialsFromOption(settings.credentials);
  const owner = normalizeRegistry(registry);
  return {
    find: async (host, repository, options) =>
      normalizeRegistry(host) === owner
        ? { credential, origin: '--creds' }
        : await config.credentials.find(host, repository, options),
  };
}
