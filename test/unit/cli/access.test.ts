import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentialSource } from '../../../src/cli/access.js';
import type { Settings } from '../../../src/cli/settings.js';
import type { RegistryConfig } from '../../../src/store/registry/config/registry-config.js';

const timeout = 5_000;
const fromFiles = { credential: { kind: 'anonymous' }, origin: 'files' } as const;
const config = {
  credentials: { find: async () => await Promise.resolve(fromFiles) },
} as unknown as RegistryConfig;
const settings = (credentials: string | undefined, anonymous = false) =>
  ({ credentials, anonymous }) as unknown as Settings;

test('--creds is for the registry itself and never for a mirror', { timeout }, async () => {
  const source = credentialSource(settings('me:p:w'), config, 'index.docker.io');
  const { credential, origin } = await source.find('docker.io', 'library/alpine');
  assert.deepEqual(credential, { kind: 'basic', username: 'me', password: 'p:w' });
  assert.equal(origin, '--creds');
  for (const host of ['mirror.example', 'docker.io:5000', 'registry-1.docker.io.evil.example']) {
    assert.equal((await source.find(host, 'library/alpine')).origin, 'files', host);
  }
});

test('--no-creds is stronger than files, and files count without options', { timeout }, async () => {
  assert.equal(
    (await credentialSource(settings(undefined, true), config, 'a.io').find('a.io', 'x')).origin,
    '--no-creds',
  );
  assert.equal(
    (await credentialSource(settings(undefined), config, 'a.io').find('a.io', 'x')).origin,
    'files',
  );
});
