/** The fault registry is measured itself before it measures others: honest behaviour first. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { request } from 'undici';
import { digestOf } from '../../../src/oci/digest.js';
import {
  startFaultRegistry,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../support/fault-registry/index.js';
import { buildArtifact, sampleImage } from '../../support/image-builder.js';

const deadline = { timeout: 20_000 };

async function started(t: TestContext, options: FaultRegistryOptions = {}): Promise<FaultRegistry> {
  const registry = await startFaultRegistry(options);
  t.after(() => registry.close());
  return registry;
}

type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

async function ask(
  url: string,
  method: Method = 'GET',
  headers: Record<string, string> = {},
  body?: Uint8Array | string,
): Promise<{ status: number; headers: Record<string, string | undefined>; body: Buffer }> {
  const answer = await request(url, { method, headers, body: body ?? null });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  return {
    status: answer.statusCode,
    headers: answer.headers as Record<string, string | undefined>,
    body: bytes,
  };
}

void test('manifests by tag and digest, with digest, type and 404', deadline, async (t) => {
  const registry = await started(t);
  const image = await sampleImage();
  const { digest, mediaType, size } = registry.addImage('group/app', image, 'v1');
  for (const reference of ['v1', digest]) {
    const got = await ask(`${registry.url}/v2/group/app/manifests/${reference}`);
    assert.equal(got.status, 200);
    assert.equal(got.headers['docker-content-digest'], digest);
    assert.equal(got.headers['content-type'], mediaType);
    assert.equal(digestOf(got.body), digest);
  }
  const head = await ask(`${registry.url}/v2/group/app/manifests/v1`, 'HEAD');
  assert.equal(head.headers['content-length'], String(size));
  assert.equal(head.body.length, 0);
  const missing = await ask(`${registry.url}/v2/group/app/manifests/v2`);
  assert.equal(missing.status, 404);
  assert.match(missing.body.toString(), /MANIFEST_UNKNOWN/);
  const nowhere = await ask(`${registry.url}/v2/nowhere/manifests/v2`);
  assert.match(nowhere.body.toString(), /NAME_UNKNOWN/);
  assert.deepEqual(
    registry.requests.map(({ method, status }) => `${method} ${status}`),
    ['GET 200', 'GET 200', 'HEAD 200', 'GET 404', 'GET 404'],
  );
});

void test('blob ranges: 206, suffix, several ranges, 416', deadline, async (t) => {
  const registry = await started(t);
  const bytes = Buffer.from('0123456789');
  const url = `${registry.url}/v2/a/blobs/${registry.putBlob('a', bytes).digest}`;
  const part = await ask(url, 'GET', { range: 'bytes=2-4' });
  assert.deepEqual([part.status, part.body.toString()], [206, '234']);
  assert.equal(part.headers['content-range'], 'bytes 2-4/10');
  assert.equal((await ask(url, 'GET', { range: 'bytes=-3' })).body.toString(), '789');
  assert.equal((await ask(url, 'GET', { range: 'bytes=8-100' })).body.toString(), '89');
  assert.equal((await ask(url, 'GET', { range: 'bytes=0-1,4-5' })).status, 200);
  const outside = await ask(url, 'GET', { range: 'bytes=10-' });
  assert.equal(outside.status, 416);
  assert.equal(outside.headers['content-range'], 'bytes */10');
  assert.equal(registry.bytesSent({ path: /blobs/ }), 3 + 3 + 2 + 10 + 33);
});

void test('bearer: challenge, scopes, expiry, insufficient scope', deadline, async (t) => {
  const registry = await started(t, {
    auth: { kind: 'bearer', users: { me: 'secret' }, anonymousPull: true, lifetimeSeconds: 60 },
  });
  const blob = registry.putBlob('group/app', Buffer.from('x'));
  const url = `${registry.url}/v2/group/app/blobs/${blob.digest}`;
  const refused = await ask(url);
  assert.equal(refused.status, 401);
  assert.match(refused.headers['www-authenticate'] ?? '', /scope="repository:group\/app:pull"/);
  const scope = 'repository:group/app:pull,push';
  const grant = await ask(`${registry.tokenUrl}/token?service=x&scope=${scope}`);
  const { token } = JSON.parse(grant.body.toString()) as { token: string };
  const bearer = { authorization: `Bearer ${token}` };
  assert.equal((await ask(url, 'GET', bearer)).status, 200);
  const push = await ask(`${registry.url}/v2/group/app/blobs/uploads/`, 'POST', bearer);
  assert.match(push.headers['www-authenticate'] ?? '', /error="insufficient_scope"/);
  registry.advanceClock(61_000);
  const late = await ask(url, 'GET', bearer);
  assert.match(late.headers['www-authenticate'] ?? '', /error="invalid_token"/);
  const basic = { authorization: `Basic ${Buffer.from('me:wrong').toString('base64')}` };
  assert.equal((await ask(`${registry.tokenUrl}/token?scope=${scope}`, 'GET', basic)).status, 401);
});

void test('storage refuses credentials, other signatures and expired URLs', deadline, async (t) => {
  const registry = await started(t, { redirectBlobs: { expirySeconds: 10 } });
  const blob = registry.putBlob('a', Buffer.from('stored'));
  const redirect = await ask(`${registry.url}/v2/a/blobs/${blob.digest}`);
  assert.equal(redirect.status, 307);
  const location = redirect.headers['location'] ?? '';
  assert.ok(location.startsWith(registry.storageUrl));
  assert.equal((await ask(location)).body.toString(), 'stored');
  assert.equal((await ask(location, 'GET', { authorization: 'Bearer x' })).status, 400);
  assert.equal((await ask(`${location}0`)).status, 403);
  registry.advanceClock(11_000);
  assert.match((await ask(location)).body.toString(), /Request has expired/);
});

void test('uploads in chunks: stale locations, order, digest at the end', deadline, async (t) => {
  const registry = await started(t);
  const start = await ask(`${registry.url}/v2/a/blobs/uploads/`, 'POST', { 'content-length': '0' });
  assert.equal(start.status, 202);
  const first = new URL(start.headers['location'] ?? '', registry.url).href;
  const patched = await ask(first, 'PATCH', { 'content-range': '0-4' }, 'hello');
  assert.equal(patched.headers['range'], '0-4');
  assert.equal((await ask(first, 'PATCH', {}, 'again')).status, 404);
  const second = new URL(patched.headers['location'] ?? '', registry.url).href;
  assert.equal((await ask(second, 'PATCH', { 'content-range': '9-10' }, 'no')).status, 416);
  const status = await ask(second);
  assert.deepEqual([status.status, status.headers['range']], [204, '0-4']);
  const wrong = await ask(`${second}&digest=${digestOf(Buffer.from('x'))}`, 'PUT');
  assert.match(wrong.body.toString(), /DIGEST_INVALID/);
  const digest = digestOf(Buffer.from('hello'));
  assert.equal((await ask(`${second}&digest=${digest}`, 'PUT')).status, 201);
  assert.equal((await ask(`${registry.url}/v2/a/blobs/${digest}`)).body.toString(), 'hello');
  const mount = `${registry.url}/v2/b/blobs/uploads/?mount=${digest}&from=a`;
  assert.equal((await ask(mount, 'POST')).status, 201);
});

void test('manifest PUT checks what it names; delete takes tags along', deadline, async (t) => {
  const registry = await started(t, { tagParameter: true });
  const image = await sampleImage();
  const [manifest] = image.manifests;
  assert.ok(manifest);
  const url = `${registry.url}/v2/a/manifests`;
  const type = { 'content-type': manifest.descriptor.mediaType };
  assert.match((await ask(`${url}/v1`, 'PUT', type, manifest.bytes)).body.toString(), /BLOB_UNKNOWN/);
  for (const blob of image.blobs) registry.putBlob('a', blob.bytes);
  const { digest } = manifest.descriptor;
  const put = await ask(`${url}/${digest}?tag=v1&tag=v2`, 'PUT', type, manifest.bytes);
  assert.deepEqual([put.status, put.headers['oci-tag']], [201, 'v1, v2']);
  assert.equal((await ask(`${url}/v2`, 'DELETE')).status, 202);
  const tags = await ask(`${registry.url}/v2/a/tags/list`);
  assert.deepEqual(JSON.parse(tags.body.toString()), { name: 'a', tags: ['v1'] });
  assert.equal((await ask(`${url}/${digest}`, 'DELETE')).status, 202);
  assert.equal((await ask(`${url}/v1`)).status, 404);
});

void test('lists are paged by Link; referrers are filtered', deadline, async (t) => {
  const registry = await started(t, { pageSize: 2 });
  const image = await sampleImage();
  registry.addImage('a', image);
  for (const tag of ['c', 'a', 'b']) registry.tag('a', tag, image.descriptor.digest);
  const first = await ask(`${registry.url}/v2/a/tags/list`);
  assert.deepEqual((JSON.parse(first.body.toString()) as { tags: string[] }).tags, ['a', 'b']);
  const next = /<(.+)>; rel="next"/.exec(first.headers['link'] ?? '')?.[1] ?? '';
  const second = await ask(new URL(next, registry.url).href);
  assert.deepEqual((JSON.parse(second.body.toString()) as { tags: string[] }).tags, ['c']);
  assert.equal(second.headers['link'], undefined);
  for (const kind of ['sbom', 'signature']) {
    registry.addImage(
      'a',
      buildArtifact({
        artifactType: `application/vnd.test.${kind}`,
        subject: image.descriptor,
        files: [{ title: `${kind}.json`, content: '{}' }],
      }),
    );
  }
  const url = `${registry.url}/v2/a/referrers/${image.descriptor.digest}`;
  const all = JSON.parse((await ask(url)).body.toString()) as { manifests: unknown[] };
  assert.equal(all.manifests.length, 2);
  const filtered = await ask(`${url}?artifactType=application/vnd.test.sbom`);
  assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
  assert.equal((JSON.parse(filtered.body.toString()) as { manifests: unknown[] }).manifests.length, 1);
});

void test('the old dialect has the measured habits', deadline, async (t) => {
  const registry = await started(t, { dialect: 'docker-2.8' });
  const image = await sampleImage();
  registry.addImage('a', image, 'v1');
  const url = `${registry.url}/v2/a/manifests/v1`;
  assert.equal((await ask(url)).status, 404);
  assert.equal((await ask(url, 'GET', { accept: image.descriptor.mediaType })).status, 200);
  assert.match((await ask(url, 'DELETE')).body.toString(), /DIGEST_INVALID/);
  assert.equal((await ask(`${registry.url}/v2/a/referrers/${image.descriptor.digest}`)).status, 404);
  const start = await ask(`${registry.url}/v2/a/blobs/uploads/`, 'POST');
  const location = new URL(start.headers['location'] ?? '', registry.url).href;
  assert.equal((await ask(location, 'PATCH', { 'content-range': '5-6' }, 'xx')).status, 202);
  assert.match((await ask(location)).body.toString(), /BLOB_UPLOAD_INVALID/);
});

void test('an outage refuses connections and ends', deadline, async (t) => {
  const registry = await started(t);
  assert.equal((await ask(`${registry.url}/v2/`)).status, 200);
  await registry.suspend();
  await assert.rejects(ask(`${registry.url}/v2/`));
  await registry.resume();
  assert.equal((await ask(`${registry.url}/v2/`)).status, 200);
});
