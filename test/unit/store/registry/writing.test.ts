import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { openRegistryStore, type RegistryStore } from '../../../../src/store/registry/registry-store.js';
import {
  startFaultRegistry,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../support/fault-registry/index.js';
import { sampleImage } from '../../../support/image-builder.js';
import { registryDeps } from '../../../support/registry-deps.js';

const timeout = 20_000;

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions = {},
): Promise<{ registry: FaultRegistry; store: RegistryStore; bytes: Uint8Array }> {
  const registry = await startFaultRegistry(options);
  const store = openRegistryStore(registry.host, registryDeps(registry.url));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  const image = await sampleImage();
  for (const blob of image.blobs) registry.putBlob('a/b', blob.bytes);
  return { registry, store, bytes: image.manifests[0]?.bytes ?? new Uint8Array(0) };
}

const tagsOf = (registry: FaultRegistry): Record<string, string> =>
  Object.fromEntries(registry.content.repositories.get('a/b')?.tags ?? []);

test('a manifest by digest, by one tag, by many', { timeout }, async (t) => {
  for (const tagParameter of [false, true]) {
    const { registry, store, bytes } = await setUp(t, { tagParameter });
    const digest = digestOf(bytes);
    const put = (tags: readonly string[]): Promise<unknown> =>
      store.putManifest('a/b', bytes, mediaTypes.ociManifest, { tags });
    await put([]);
    assert.deepEqual(tagsOf(registry), {});
    await put(['v1']);
    assert.deepEqual(tagsOf(registry), { v1: digest });
    registry.forgetRequests();
    await put(['v2', 'v3', 'v3']);
    assert.deepEqual(tagsOf(registry), { v1: digest, v2: digest, v3: digest });
    assert.equal(registry.requests.length, tagParameter ? 1 : 3);
    registry.forgetRequests();
    await put(['v4', 'v5']);
    assert.equal(registry.requests.length, tagParameter ? 1 : 2, 'what the registry can do is remembered');
  }
});

test('a manifest with a blob missing is invalid, not "not found"', { timeout }, async (t) => {
  const { registry, store, bytes } = await setUp(t);
  for (const status of [400, 404]) {
    registry.clearFaults();
    const body = JSON.stringify({ errors: [{ code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown' }] });
    registry.fault({ match: { method: 'PUT' }, fault: { kind: 'status', status, body } });
    await assert.rejects(store.putManifest('a/b', bytes, mediaTypes.ociManifest, { tags: ['v1'] }), (error) =>
      isImgfsError(error, 'invalid'),
    );
  }
});

test('a registry that stores something else is found out', { timeout }, async (t) => {
  const { registry, store, bytes } = await setUp(t);
  const value = digestOf(Buffer.from('else'));
  registry.fault({ match: { method: 'PUT' }, fault: { kind: 'digest-header', value } });
  await assert.rejects(store.putManifest('a/b', bytes, mediaTypes.ociManifest), (error) =>
    isImgfsError(error, 'integrity'),
  );
});

test('tags that are none, and repositories that are none, are not sent', { timeout }, async (t) => {
  const { registry, store, bytes } = await setUp(t);
  registry.forgetRequests();
  const name = (error: unknown): boolean => isImgfsError(error, 'name-invalid');
  await assert.rejects(store.putManifest('a/b', bytes, mediaTypes.ociManifest, { tags: ['../x'] }), name);
  await assert.rejects(store.putManifest('A', bytes, mediaTypes.ociManifest), name);
  await assert.rejects(store.deleteTag('a/b', 'x/y'), name);
  assert.equal(registry.requests.length, 0);
});

test('mounting: taken over, or cancelled and left to the caller', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = registry.putBlob('a/b', Buffer.from('shared'));
  assert.equal(await store.mountBlob('c/d', 'a/b', blob.digest), true);
  assert.ok(registry.content.repositories.get('c/d')?.blobs.has(blob.digest));
  assert.equal(await store.mountBlob('c/d', 'a/b', digestOf(Buffer.from('none'))), false);
  assert.equal(registry.uploads.size, 0, 'the upload opened instead is cancelled');
  for (const status of [400, 403, 404, 405]) {
    registry.clearFaults();
    registry.fault({ match: { method: 'POST' }, fault: { kind: 'status', status } });
    assert.equal(await store.mountBlob('c/d', 'a/b', blob.digest), false, String(status));
  }
  registry.clearFaults();
  registry.fault({ match: { method: 'POST' }, fault: { kind: 'status', status: 500 } });
  await assert.rejects(store.mountBlob('c/d', 'a/b', blob.digest), (error) =>
    isImgfsError(error, 'unavailable'),
  );
});

test('deleting, where it is done', { timeout }, async (t) => {
  const { registry, store, bytes } = await setUp(t);
  const { digest } = await store.putManifest('a/b', bytes, mediaTypes.ociManifest, { tags: ['v1', 'v2'] });
  await store.deleteTag('a/b', 'v1');
  assert.deepEqual(Object.keys(tagsOf(registry)), ['v2']);
  await store.deleteManifest('a/b', digest);
  await assert.rejects(store.deleteManifest('a/b', digest), (error) => isImgfsError(error, 'not-found'));
  const blob = registry.putBlob('a/b', Buffer.from('x'));
  await store.deleteBlob('a/b', blob.digest);
  await assert.rejects(store.statBlob('a/b', blob.digest), (error) => isImgfsError(error, 'not-found'));
});

test('a delete whose answer was lost has happened', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = registry.putBlob('a/b', Buffer.from('x'));
  registry.fault({ match: { method: 'DELETE', nth: 1 }, fault: { kind: 'reset', when: 'handled' } });
  await store.deleteBlob('a/b', blob.digest);
});

test('deleting, where it is refused, is unsupported and says what to do', { timeout }, async (t) => {
  const old = await setUp(t, { dialect: 'docker-2.8' });
  await old.store.putManifest('a/b', old.bytes, mediaTypes.ociManifest, { tags: ['v1'] });
  await assert.rejects(old.store.deleteTag('a/b', 'v1'), (error) => {
    assert.ok(isImgfsError(error, 'unsupported'));
    assert.match(error.hint ?? '', /by digest only/);
    return true;
  });
  const { store, bytes } = await setUp(t, { deletes: false });
  await assert.rejects(store.deleteManifest('a/b', digestOf(bytes)), (error) => {
    assert.ok(isImgfsError(error, 'unsupported'));
    assert.match(error.hint ?? '', /enabled/);
    return true;
  });
});
