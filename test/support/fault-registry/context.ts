/** What all handlers of the fault registry share. */
import { createHmac, randomBytes } from 'node:crypto';
import type { RegistryContent } from './content.js';
import type { FaultRegistryOptions } from './options.js';
import type { UploadSession } from './uploads.js';

export interface RegistryContext {
  readonly options: FaultRegistryOptions;
  readonly content: RegistryContent;
  readonly uploads: Map<string, UploadSession>;
  readonly tokens: Map<string, IssuedToken>;
  readonly refreshTokens: Map<string, string>;
  /** Milliseconds since the epoch on the registry's own clock, which tests can advance. */
  now(): number;
  /** Origins of the servers, known once they listen. */
  origins: { registry: string; storage: string; token: string };
  /** Keyed digest for signed URLs and upload states: only this registry can make it. */
  sign(text: string): string;
}

export interface IssuedToken {
  readonly user: string | undefined;
  /** Granted actions by `type:name`. */
  readonly grants: ReadonlyMap<string, ReadonlySet<string>>;
  readonly expiresAt: number;
}

export function createContext(options: FaultRegistryOptions, content: RegistryContent): RegistryContext {
  const secret = randomBytes(32);
  return {
    options,
    content,
    uploads: new Map(),
    tokens: new Map(),
    refreshTokens: new Map(),
    now: () => Date.now(),
    origins: { registry: '', storage: '', token: '' },
    sign: (text) => createHmac('sha256', secret).update(text).digest('hex'),
  };
}

/** True when the registry imitates docker-registry 2.8.2. */
export function isOldDocker(context: RegistryContext): boolean {
  return context.options.dialect === 'docker-2.8';
}

/** `Docker-Content-Digest`, unless the registry is one of those that leave it out. */
export function digestHeaders(context: RegistryContext, digest: string): Record<string, string> {
  return context.options.digestHeader === false ? {} : { 'Docker-Content-Digest': digest };
}
