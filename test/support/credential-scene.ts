/** The ground of the tests of promise 12: a registry, a client with credentials for it, and what it may be asked. */
import assert from 'node:assert/strict';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import { digestOf } from '../../src/oci/digest.js';
import type { RegistryStore } from '../../src/store/registry/registry-store.js';
import { collect, readBody } from './bodies.js';
import type { CredentialWatch } from './credential-watch.js';
import { startFaultRegistry, type AuthOptions, type FaultRegistry } from './fault-registry/index.js';
import { sampleImage, type BuiltSingleImage } from './image-builder.js';
import { hastyOptions, openTestStore } from './registry-client.js';

export const username = 'robot';
export const password = 'p4ssw0rd-that-must-not-leak';
export const apiKey = 'configured-header-that-must-not-leak';
export const basic = Buffer.from(`${username}:${password}`).toString('base64');

/** A registry with one image `name:v1`, and a store that is logged in to it. */
export interface Scene {
  readonly registry: FaultRegistry;
  readonly store: RegistryStore;
  readonly image: BuiltSingleImage;
  readonly name: string;
}

/** Names of the world outside, all of it fake. */
export const outsideNames = {
  'elsewhere.test': ['127.0.0.1'],
  'metadata.test': ['169.254.169.254'],
  'mixed.test': ['127.0.0.1', '169.254.169.254'],
  'zero.test': ['0.0.0.0'],
  'mapped.test': ['::ffff:169.254.169.254'],
  'public.test': ['93.184.215.14'],
};

/** Start one; `close` ends both. */
export async function credentialScene(
  options: { auth?: AuthOptions; redirectBlobs?: boolean; tls?: boolean } = {},
): Promise<Scene & { close(): Promise<void> }> {
  const auth = options.auth ?? { kind: 'basic', users: { [username]: password } };
  const registry = await startFaultRegistry({ ...options, auth });
  const image = await sampleImage({ payloadBytes: 1000 });
  registry.addImage('group/app', image, 'v1');
  const store = openTestStore(registry, {
    login: { username, password },
    // Small chunks: an upload is several requests.
    options: { ...hastyOptions, chunkBytes: 16 * 1024 },
    endpoint: { headers: { 'X-Api-Key': apiKey } },
  });
  return {
    registry,
    store,
    image,
    name: 'group/app',
    close: async () => {
      await store.close();
      await registry.close();
    },
  };
}

/** Everything that must stay between us and the registry. */
export function secretsOf({ registry }: Scene): string[] {
  const tokens = registry.issuedTokens();
  return [basic, password, apiKey, ...tokens];
}

/** Nobody but the registry and its token server has seen a secret. */
export function assertNoLeak(watch: CredentialWatch, current: Scene): void {
  const { registry } = current;
  const allowed = new Set([new URL(registry.url).host, new URL(registry.tokenUrl).host]);
  const secrets = secretsOf(current);
  for (const { host, peer, text } of watch.sent) {
    if (allowed.has(peer.replace('::ffff:', ''))) continue;
    for (const secret of secrets) assert.ok(!text.includes(secret), `secret sent to ${host} (${peer})`);
    assert.doesNotMatch(text, /^(proxy-)?authorization:|^cookie:/im, `credentials sent to ${host} (${peer})`);
  }
  assert.deepEqual(watch.forbiddenConnections, []);
}

/** Something that sends requests. */
export type Act = (scene: Scene) => Promise<unknown>;

/** Everything a store does, by name. */
export const acts: Readonly<Record<string, Act>> = {
  blob: async ({ store, image, name }) => {
    const [config] = image.blobs;
    assert.ok(config);
    return readBody(await store.fetch(name, config.descriptor));
  },
  range: async ({ store, image, name }) => {
    const layer = image.layers[1];
    assert.ok(layer);
    return readBody(await store.fetch(name, layer.descriptor, { range: { start: 5, end: 50 } }));
  },
  manifest: ({ store, name }) => store.resolve({ repository: name, tag: 'v1' }),
  tags: ({ store, name }) => collect(store.tags(name), 1000),
  catalog: ({ store }) => collect(store.repositories(), 1000),
  referrers: ({ store, name, image }) => collect(store.referrers(name, image.descriptor.digest), 1000),
  stat: ({ store, image, name }) => store.statBlob(name, image.config.descriptor.digest),
  upload: async ({ store, name }) => {
    const bytes = Buffer.from(`upload ${Math.random()}`);
    const upload = await store.startUpload(name);
    await upload.write(bytes);
    return upload.finish(digestOf(bytes));
  },
  put: async ({ store, name, image }) => {
    const [manifest] = image.manifests;
    assert.ok(manifest);
    return store.putManifest(name, manifest.bytes, manifest.descriptor.mediaType, { tags: ['v2'] });
  },
  delete: ({ store, name }) => store.deleteTag(name, 'v1'),
};

/** Do it; failing is allowed, but only with an error of ours, and never as if nothing were there. */
export async function attempt(current: Scene, act: Act): Promise<unknown> {
  try {
    return await act(current);
  } catch (error) {
    assert.ok(isImgfsError(error), String(error));
    assert.ok(!['not-found', 'internal'].includes(error.code), `${error.code}: ${error.message}`);
    const text = `${error.message} ${error.hint} ${JSON.stringify(error.context)}`;
    for (const secret of secretsOf(current)) assert.ok(!text.includes(secret), `secret in: ${text}`);
    return error;
  }
}
