import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import type { Credential } from '../../../../src/store/registry/credential.js';
import { openRegistryStore, type RegistryStore } from '../../../../src/store/registry/registry-store.js';
import {
  startFaultRegistry,
  type BearerAuth,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../support/fault-registry/index.js';
import { sampleImage } from '../../../support/image-builder.js';
import { listOf } from '../../../support/read-body.js';
import { registryDeps, type DepsSketch } from '../../../support/registry-deps.js';

const timeout = 20_000;
const me = { kind: 'basic', username: 'me', password: 'p:w ü' } as const;
const users = { me: 'p:w ü' };
const bearer: BearerAuth = { kind: 'bearer', users };

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions,
  credential: Credential | undefined,
  sketch: DepsSketch = {},
): Promise<{ registry: FaultRegistry; store: RegistryStore }> {
  const registry = await startFaultRegistry(options);
  const credentials = credential === undefined ? {} : { [registry.host]: credential };
  const store = openRegistryStore(registry.host, registryDeps(registry.url, { credentials, ...sketch }));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  registry.addImage('a/b', await sampleImage(), 'v1');
  return { registry, store };
}

const target = { repository: 'a/b', tag: 'v1' };

test('basic: one 401, then the password with every request', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: { kind: 'basic', users } }, me);
  await store.resolve(target);
  await store.resolve(target);
  assert.deepEqual(
    registry.requests.map(({ status }) => status),
    [401, 200, 200],
  );
});

test('bearer: a token for each scope, no further 401', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  registry.addImage('c/d', await sampleImage({ seed: 2 }), 'v1');
  await Promise.all([store.resolve(target), store.resolve(target)]);
  registry.forgetRequests();
  await store.resolve({ repository: 'c/d', tag: 'v1' });
  await store.resolve(target);
  assert.deepEqual(
    registry.requests.map(({ path, status }) => `${path} ${status}`),
    ['/token 200', '/v2/c/d/manifests/v1 200', '/v2/a/b/manifests/v1 200'],
  );
  const [asked] = registry.requestsTo({ path: '/token' });
  assert.equal(asked?.query.get('scope'), 'repository:c/d:pull');
  assert.equal(asked?.query.get('account'), 'me');
});

test('bearer: parallel requests share one token request', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  await store.resolve(target);
  registry.advanceClock(1_000_000);
  registry.forgetRequests();
  await Promise.all(Array.from({ length: 6 }, () => store.resolve(target)));
  assert.equal(registry.requestsTo({ path: '/token' }).length, 1);
});

test('bearer: an expired token is replaced', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  await store.resolve(target);
  registry.advanceClock(400_000);
  await store.resolve(target);
  assert.equal(registry.requestsTo({ path: '/token' }).length, 2);
});

test('bearer: anonymous pull, and a clear message where it is not given', { timeout }, async (t) => {
  const { store } = await setUp(t, { auth: { ...bearer, anonymousPull: true } }, undefined);
  await store.resolve(target);
  const closed = await setUp(t, { auth: bearer }, undefined);
  await assert.rejects(closed.store.resolve(target), (error) => {
    assert.ok(isImgfsError(error, 'unauthorized'));
    assert.match(error.message, /no credential is known/);
    assert.equal(error.hint, `log in with: imgfs login ${closed.registry.host}`);
    return true;
  });
});

test('bearer: a wrong password says where it came from, and never itself', { timeout }, async (t) => {
  const wrong = { kind: 'basic', username: 'me', password: 'hunter2' } as const;
  const { store } = await setUp(t, { auth: bearer }, wrong);
  await assert.rejects(store.resolve(target), (error) => {
    assert.ok(isImgfsError(error, 'unauthorized'));
    assert.match(error.message, /credential from test was refused/);
    assert.doesNotMatch(JSON.stringify([error, error.message, error.cause]), /hunter2/);
    return true;
  });
});

test('bearer: a refresh token is sent by POST', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  await store.resolve(target);
  const answer = await fetch(
    `${registry.tokenUrl}/token?offline_token=true&service=fault-registry&scope=repository:a/b:pull`,
    {
      headers: { authorization: `Basic ${Buffer.from('me:p:w ü').toString('base64')}` },
    },
  );
  const { refresh_token: token } = (await answer.json()) as { refresh_token: string };
  const credentials = { [registry.host]: { kind: 'identity-token', token } as const };
  const other = openRegistryStore(registry.host, registryDeps(registry.url, { credentials }));
  t.after(() => other.close());
  registry.forgetRequests();
  await other.resolve(target);
  assert.deepEqual(
    registry.requests.map(({ method, path }) => `${method} ${path}`),
    ['HEAD /v2/a/b/manifests/v1', 'POST /token', 'HEAD /v2/a/b/manifests/v1'],
  );
});

test('a login while the store is open takes effect', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ auth: { kind: 'basic', users } });
  let known: Credential = { kind: 'anonymous' };
  const deps = registryDeps(registry.url);
  const store = openRegistryStore(registry.host, {
    ...deps,
    credentials: { find: async () => ({ credential: known, origin: 'test' }) },
  });
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  registry.addImage('a/b', await sampleImage(), 'v1');
  await assert.rejects(store.resolve(target), (error) => isImgfsError(error, 'unauthorized'));
  known = me;
  await store.resolve(target);
});

test('insufficient_scope is tried once more with the scope given', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  await store.resolve(target);
  registry.fault({
    match: { path: /manifests/, times: 1 },
    fault: {
      kind: 'status',
      status: 401,
      headers: {
        'WWW-Authenticate': `Bearer realm="${registry.tokenUrl}/token",service="fault-registry",scope="repository:a/b:pull repository:base:pull",error="insufficient_scope"`,
      },
    },
  });
  await store.resolve(target);
  const last = registry.requestsTo({ path: '/token' }).at(-1);
  assert.deepEqual(last?.query.getAll('scope'), ['repository:a/b:pull', 'repository:base:pull']);
  registry.forgetRequests();
  await store.resolve(target);
  assert.equal(registry.requests.length, 1, 'the wider token is kept');
});

test('a 401 without a challenge is looked up at /v2/', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  registry.fault({ match: { path: /manifests/, times: 1 }, fault: { kind: 'status', status: 401 } });
  await store.resolve(target);
  assert.equal(registry.requests[1]?.path, '/v2/');
});

test('a relative realm is at the registry', { timeout }, async (t) => {
  const { store } = await setUp(t, { auth: { ...bearer, realm: '/token' } }, me);
  await store.resolve(target);
});

test('a realm elsewhere without TLS is refused, and gets nothing', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: { ...bearer, tokenServer: 'separate' } }, me);
  await assert.rejects(store.resolve(target), (error) => isImgfsError(error, 'denied'));
  assert.equal(registry.requestsTo({ role: 'token' }).length, 0);
});

test('a realm elsewhere is used when the user trusts it', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ auth: { ...bearer, tokenServer: 'separate' } });
  const options = { trustedHosts: [new URL(registry.tokenUrl).host] };
  const credentials = { [registry.host]: me };
  const store = openRegistryStore(registry.host, registryDeps(registry.url, { credentials, options }));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  registry.addImage('a/b', await sampleImage(), 'v1');
  await store.resolve(target);
  assert.equal(registry.requestsTo({ role: 'token' }).length, 1);
});

test('a token server must not redirect, send nonsense, or send without end', { timeout }, async (t) => {
  const cases = [
    [{ kind: 'redirect', to: 'http://127.0.0.1:1/' }, 'protocol'],
    [{ kind: 'garbage-json' }, 'protocol'],
    [{ kind: 'body', body: '{"token":"a\\r\\nX-Evil: 1"}' }, 'protocol'],
    [{ kind: 'body', body: '{"token":42}' }, 'protocol'],
    [{ kind: 'huge-body', bytes: Infinity, prefix: '{"token":"' }, 'too-large'],
    [{ kind: 'status', status: 404 }, 'unauthorized'],
    [{ kind: 'status', status: 403 }, 'denied'],
  ] as const;
  for (const [fault, code] of cases) {
    const { registry, store } = await setUp(t, { auth: bearer }, me, { options: { retries: 0 } });
    registry.fault({ match: { path: '/token' }, fault });
    await assert.rejects(store.resolve(target), (error) => isImgfsError(error, code), JSON.stringify(fault));
    await store.close();
  }
});

test('a token server that fails is asked again', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  registry.fault({ match: { path: '/token', nth: 1 }, fault: { kind: 'status', status: 503 } });
  await store.resolve(target);
});

test('the catalog has a scope of its own', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  assert.deepEqual(await listOf(store.repositories()), ['a/b']);
  assert.equal(registry.requestsTo({ path: '/token' })[0]?.query.get('scope'), 'registry:catalog:*');
});

test('a mount asks for both repositories, a delete for everything', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { auth: bearer }, me);
  const blob = registry.putBlob('a/b', Buffer.from('shared'));
  assert.equal(await store.mountBlob('c/d', 'a/b', blob.digest), true);
  const [asked] = registry.requestsTo({ path: '/token' });
  assert.deepEqual(asked?.query.getAll('scope'), ['repository:c/d:pull,push', 'repository:a/b:pull']);
  await store.deleteBlob('c/d', blob.digest);
  assert.equal(registry.requestsTo({ path: '/token' }).at(-1)?.query.get('scope'), 'repository:c/d:*');
});
