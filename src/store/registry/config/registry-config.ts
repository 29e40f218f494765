/** The configuration of registries on this machine in one piece: what a command line needs. */
import { createAuthSource, type AuthSource, type AuthSourceOptions } from './auth-file.js';
import type { AuthFileOptions } from './auth-places.js';
import {
  createEndpointResolver,
  type ConfiguredEndpoints,
  type EndpointOptions,
} from './endpoint-resolver.js';
import { processEnvironment, type Environment } from './environment.js';
import { createRegistriesReader } from './registries-files.js';

/** What takes precedence over the files of this machine. */
export interface RegistryConfigOptions extends AuthFileOptions, Omit<EndpointOptions, 'environment'> {
  /** Default: this process' machine. */
  readonly environment?: Environment;
}

/** Where registries are, and who we are there. */
export interface RegistryConfig {
  readonly endpoints: ConfiguredEndpoints;
  readonly credentials: AuthSource;
  /** For `storeCredential` and `eraseCredential` of login.ts. */
  readonly authOptions: AuthSourceOptions;
}

/** Nothing is read until something is asked. */
export function openRegistryConfig(options: RegistryConfigOptions = {}): RegistryConfig {
  const environment = options.environment ?? processEnvironment();
  const registries = createRegistriesReader(environment);
  const authOptions: AuthSourceOptions = {
    environment,
    ...(options.authFile === undefined ? {} : { authFile: options.authFile }),
    globalHelpers: async () => {
      const { credentialHelpers } = await registries.read();
      return credentialHelpers.length === 0 ? undefined : credentialHelpers;
    },
  };
  return {
    endpoints: createEndpointResolver({ ...options, environment }, registries),
    credentials: createAuthSource(authOptions),
    authOptions,
  };
}
