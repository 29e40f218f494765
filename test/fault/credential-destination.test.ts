/**
 * Promise 12: credentials go only to the host they belong to. Hostile answers of every kind, and afterwards nobody but
 * the registry (and the token server it shares its origin with) has seen a secret.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { request } from 'undici';
import { ImgfsError, isImgfsError } from '../../src/errors/imgfs-error.js';
import { digestOf } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { readBody } from '../support/bodies.js';
import {
  startFaultRegistry,
  type AuthOptions,
  type Fault,
  type FaultMatch,
  type FaultRegistry,
} from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { hastyOptions, openTestStore } from '../support/registry-client.js';
import {
  acts,
  apiKey,
  assertNoLeak,
  attempt,
  basic,
  credentialScene,
  outsideNames,
  password,
  username,
  type Act,
  type Scene,
} from '../support/credential-scene.js';
import { watchCredentials, type CredentialWatch } from '../support/credential-watch.js';

const deadline = { timeout: 20_000 };

let watch: CredentialWatch;

function hostile(
  title: string,
  fault: (scene: Scene) => Fault,
  match: FaultMatch,
  act: Act,
  options: Parameters<typeof credentialScene>[0] = {},
): void {
  void test(title, deadline, async () => {
    const current = await credentialScene(options);
    try {
      watch.forget();
      // Only what carries credentials is struck: before that there would be nothing to leak.
      const when: FaultMatch['when'] = ({ headers }) => headers['authorization'] !== undefined;
      current.registry.fault({ match: { role: 'registry', when, ...match }, fault: fault(current) });
      await attempt(current, act);
      assert.ok(
        current.registry.requests.some((record) => record.fault !== undefined),
        'the fault struck nothing',
      );
      assertNoLeak(watch, current);
    } finally {
      await current.close();
    }
  });
}

describe('credential destinations', () => {
  before(() => {
    watch = watchCredentials({ names: outsideNames });
  });
  after(() => watch.stop());

  void test('the watch sees a leak, and a connection that must not be', deadline, async () => {
    const current = await credentialScene();
    try {
      watch.forget();
      await request(`${current.registry.strangerUrl}/`, { headers: { authorization: `Basic ${basic}` } });
      assert.throws(() => assertNoLeak(watch, current), /secret sent to/);
      watch.forget();
      await assert.rejects(request('http://169.254.169.254/latest/meta-data/'));
      assert.deepEqual(watch.forbiddenConnections, ['169.254.169.254']);
      watch.forget();
      await assert.rejects(request('http://nobody.test/'), /ENOTFOUND/);
    } finally {
      await current.close();
    }
  });

  void test('and the registry itself does get its credentials', deadline, async () => {
    const current = await credentialScene();
    try {
      for (const act of Object.values(acts)) await act(current);
      const seen = current.registry.requests.filter(({ headers }) => headers['authorization'] !== undefined);
      assert.ok(seen.length >= Object.keys(acts).length);
      assert.ok(seen.every(({ headers }) => headers['x-api-key'] === apiKey));
      assertNoLeak(watch, current);
    } finally {
      await current.close();
    }
  });

  describe('redirects of a blob', () => {
    const portOf = (url: string): string => new URL(url).port;
    const targets: Readonly<Record<string, (registry: FaultRegistry) => string>> = {
      'another port': ({ strangerUrl }) => `${strangerUrl}/x`,
      'a name of the same address': ({ strangerUrl }) => `http://elsewhere.test:${portOf(strangerUrl)}/x`,
      'the registry by another name': ({ url }) => `http://elsewhere.test:${portOf(url)}/v2/`,
      localhost: ({ strangerUrl }) => `http://localhost:${portOf(strangerUrl)}/x`,
      'user and password in the target': ({ strangerUrl }) =>
        `http://${username}:${password}@127.0.0.1:${portOf(strangerUrl)}/x`,
      'the registry as user name': ({ url, strangerUrl }) =>
        `http://127.0.0.1:${portOf(url)}@127.0.0.1:${portOf(strangerUrl)}/x`,
      'a backslash': ({ strangerUrl }) => `http:\\\\127.0.0.1:${portOf(strangerUrl)}\\x`,
      'no scheme': ({ strangerUrl }) => `//127.0.0.1:${portOf(strangerUrl)}/x`,
      'odd capitals': ({ strangerUrl }) => `hTTp://127.0.0.1:${portOf(strangerUrl)}/x`,
      '127.1': ({ strangerUrl }) => `http://127.1:${portOf(strangerUrl)}/x`,
      'a decimal address': ({ strangerUrl }) => `http://2130706433:${portOf(strangerUrl)}/x`,
      'a hexadecimal address': ({ strangerUrl }) => `http://0x7f.0.0.1:${portOf(strangerUrl)}/x`,
      'IPv6 mapped loopback': ({ strangerUrl }) => `http://[::ffff:127.0.0.1]:${portOf(strangerUrl)}/x`,
      'IPv6 loopback': ({ strangerUrl }) => `http://[::1]:${portOf(strangerUrl)}/x`,
      'the unspecified address': ({ strangerUrl }) => `http://0.0.0.0:${portOf(strangerUrl)}/x`,
      'the unspecified IPv6 address': ({ strangerUrl }) => `http://[::]:${portOf(strangerUrl)}/x`,
      'the metadata address': () => 'http://169.254.169.254/latest/meta-data/iam/',
      'the metadata address, mapped': () => 'http://[::ffff:169.254.169.254]/latest/',
      'the metadata address, NAT64': () => 'http://[64:ff9b::a9fe:a9fe]/latest/',
      'the metadata address, decimal': () => 'http://2852039166/latest/',
      'the IPv6 metadata address': () => 'http://[fd00:ec2::254]/latest/',
      'a name for the metadata address': () => 'http://metadata.test/latest/',
      'a name for mapped metadata': () => 'http://mapped.test/latest/',
      'a name for two addresses, one forbidden': ({ strangerUrl }) =>
        `http://mixed.test:${portOf(strangerUrl)}/x`,
      'a name for the unspecified address': ({ strangerUrl }) => `http://zero.test:${portOf(strangerUrl)}/x`,
      'a name nobody knows': () => 'http://nobody.test/x',
      'a file': () => 'file:///etc/passwd',
      data: () => 'data:text/plain,hello',
      javascript: () => 'javascript:alert(1)',
      ftp: () => 'ftp://elsewhere.test/x',
      'an empty location': () => '',
      'no url': () => 'http://[broken',
    };
    for (const [what, target] of Object.entries(targets)) {
      hostile(
        `to ${what}`,
        ({ registry }) => ({ kind: 'redirect', to: target(registry) }),
        { path: /\/blobs\/sha256/ },
        what.length % 2 === 0 ? (acts['blob'] as Act) : (acts['range'] as Act),
      );
    }
    for (const status of [301, 302, 303, 308]) {
      hostile(
        `with status ${status}`,
        ({ registry }) => ({ kind: 'redirect', status, to: `${registry.strangerUrl}/x` }),
        { path: /\/blobs\/sha256/ },
        acts['blob'] as Act,
      );
    }
  });

  describe('redirects of everything else', () => {
    const paths: Readonly<Record<string, FaultMatch>> = {
      manifest: { path: /\/manifests\// },
      tags: { path: /\/tags\// },
      catalog: { path: /_catalog/ },
      referrers: { path: /\/referrers\// },
      stat: { method: 'HEAD', path: /\/blobs\// },
      upload: { method: 'POST', path: /\/uploads\// },
      put: { method: 'PUT', path: /\/manifests\// },
      delete: { method: 'DELETE' },
    };
    for (const [what, match] of Object.entries(paths)) {
      hostile(
        `${what} to another host`,
        ({ registry }) => ({ kind: 'redirect', to: ({ path }) => `${registry.strangerUrl}${path}` }),
        match,
        acts[what] as Act,
      );
      hostile(
        `${what} to the metadata service`,
        () => ({ kind: 'redirect', to: 'http://metadata.test/latest/' }),
        match,
        acts[what] as Act,
      );
    }
    for (const method of ['PATCH', 'PUT']) {
      hostile(
        `${method} of an upload`,
        ({ registry }) => ({ kind: 'redirect', to: `${registry.strangerUrl}/x` }),
        { method, path: /\/uploads\// },
        async (current) => {
          const bytes = Buffer.alloc(100_000, 1);
          const upload = await current.store.startUpload(current.name);
          await upload.write(bytes);
          await upload.finish(digestOf(bytes));
        },
      );
    }
  });

  describe('from https to http', () => {
    for (const [what, path] of [
      ['blob', /\/blobs\/sha256/],
      ['manifest', /\/manifests\//],
      ['tags', /\/tags\//],
    ] as const) {
      hostile(
        what,
        ({ registry }) => ({ kind: 'redirect', to: ({ path }) => `${registry.strangerUrl}${path}` }),
        { path },
        async (current) => {
          await acts[what]?.(current);
          assert.fail('a redirect from https to http was followed');
        },
        { tls: true },
      );
    }
    hostile(
      'to the registry itself',
      ({ registry }) => ({ kind: 'redirect', to: ({ path }) => `http://${registry.host}${path}` }),
      { path: /\/blobs\/sha256/ },
      acts['blob'] as Act,
      { tls: true },
    );
  });

  void test('a stranger who sends us back gets no credentials used for him', deadline, async () => {
    const current = await credentialScene();
    const { registry } = current;
    try {
      watch.forget();
      registry.fault({
        match: {
          role: 'registry',
          path: /\/blobs\/sha256/,
          when: ({ headers }) => headers['authorization'] !== undefined,
        },
        fault: { kind: 'redirect', to: `${registry.strangerUrl}/hop` },
      });
      registry.fault({
        match: { role: 'stranger' },
        fault: { kind: 'redirect', to: `${registry.url}/v2/private/manifests/secret` },
      });
      await attempt(current, acts['blob'] as Act);
      const back = registry.requestsTo({ path: /\/v2\/private\// });
      assert.ok(back.length > 0, 'the second hop was not reached');
      assert.ok(back.every(({ headers }) => headers['authorization'] === undefined));
      assert.ok(back.every(({ headers }) => headers['x-api-key'] === undefined));
      assertNoLeak(watch, current);
    } finally {
      await current.close();
    }
  });

  describe('storage that asks for credentials', () => {
    for (const challenge of [
      'Basic realm="storage"',
      'Bearer realm="/token",service="x",scope="y"',
      'Digest x',
    ]) {
      void test(challenge, deadline, async () => {
        const current = await credentialScene({ redirectBlobs: true });
        try {
          watch.forget();
          current.registry.fault({
            match: { role: 'storage' },
            fault: { kind: 'status', status: 401, headers: { 'WWW-Authenticate': challenge } },
          });
          await attempt(current, acts['blob'] as Act);
          assert.ok(current.registry.requestsTo({ role: 'storage' }).length > 0);
          assertNoLeak(watch, current);
        } finally {
          await current.close();
        }
      });
    }
  });

  describe('realms', () => {
    const bearer = (realm: string): AuthOptions => ({
      kind: 'bearer',
      users: { [username]: password },
      realm,
    });
    const realms: Readonly<Record<string, string>> = {
      'a host with plain http': 'http://elsewhere.test/token',
      'a host with https': 'https://elsewhere.test/token',
      'a public host with https': 'https://public.test/token',
      'the metadata service': 'http://169.254.169.254/token',
      'the metadata service by https': 'https://169.254.169.254/token',
      'a name of the metadata service': 'https://metadata.test/token',
      'the unspecified address': 'https://0.0.0.0/token',
      'the metadata address, mapped': 'https://[::ffff:169.254.169.254]/token',
      'user and password': `https://${username}:${password}@elsewhere.test/token`,
      'a file': 'file:///etc/passwd',
      nothing: '',
      'no url': 'https://[',
    };
    for (const [what, realm] of Object.entries(realms)) {
      void test(`at ${what}`, deadline, async () => {
        const current = await credentialScene({ auth: bearer(realm) });
        try {
          watch.forget();
          const result = await attempt(current, acts['blob'] as Act);
          assert.ok(result instanceof ImgfsError);
          assertNoLeak(watch, current);
        } finally {
          await current.close();
        }
      });
    }

    void test('at another port of the same host, by http', deadline, async () => {
      const current = await credentialScene({
        auth: { ...bearer(''), tokenServer: 'separate' } as AuthOptions,
      });
      try {
        watch.forget();
        const stranger = `${current.registry.strangerUrl}/token`;
        current.registry.fault({
          match: { role: 'registry' },
          fault: {
            kind: 'status',
            status: 401,
            headers: { 'WWW-Authenticate': `Bearer realm="${stranger}",service="x"` },
          },
        });
        await attempt(current, acts['manifest'] as Act);
        assertNoLeak(watch, current);
      } finally {
        await current.close();
      }
    });

    for (const status of [302, 307]) {
      void test(`a token server that redirects with ${status}`, deadline, async () => {
        const current = await credentialScene({ auth: { kind: 'bearer', users: { [username]: password } } });
        const { registry } = current;
        try {
          watch.forget();
          registry.fault({
            match: { path: '/token' },
            fault: { kind: 'redirect', status, to: `${registry.strangerUrl}/token` },
          });
          assert.ok((await attempt(current, acts['blob'] as Act)) instanceof ImgfsError);
          assert.equal(registry.requestsTo({ role: 'stranger' }).length, 0);
          assertNoLeak(watch, current);
        } finally {
          await current.close();
        }
      });
    }

    for (const credential of [
      { kind: 'identity-token', token: password },
      { kind: 'registry-token', token: password },
    ] as const) {
      void test(`${credential.kind} is not sent to a realm elsewhere`, deadline, async () => {
        const registry = await startFaultRegistry({ auth: bearer('https://elsewhere.test/token') });
        const image = await sampleImage({ payloadBytes: 1000 });
        registry.addImage('group/app', image, 'v1');
        const store = openTestStore(registry, { credential, options: hastyOptions });
        const current = { registry, store, image, name: 'group/app' };
        try {
          watch.forget();
          await attempt(current, acts['blob'] as Act);
          assertNoLeak(watch, current);
        } finally {
          await store.close();
          await registry.close();
        }
      });
    }
  });

  describe('next pages', () => {
    const links: Readonly<Record<string, (registry: FaultRegistry) => string>> = {
      'another host': ({ strangerUrl }) => `${strangerUrl}/v2/group/app/tags/list?last=x`,
      'another name': ({ url }) => `http://elsewhere.test:${new URL(url).port}/v2/group/app/tags/list?last=x`,
      'no scheme': ({ strangerUrl }) => strangerUrl.replace('http:', ''),
      'the metadata service': () => 'http://169.254.169.254/latest',
      'user and password': ({ strangerUrl }) => strangerUrl.replace('//', `//${username}:${password}@`),
    };
    for (const [what, link] of Object.entries(links)) {
      for (const list of ['tags', 'catalog', 'referrers'] as const) {
        hostile(
          `of ${list} at ${what}`,
          ({ registry }) => ({ kind: 'link', value: `<${link(registry)}>; rel="next"` }),
          { path: /tags\/list|_catalog|referrers/, times: 1 },
          acts[list] as Act,
        );
      }
    }
  });

  describe('upload locations', () => {
    const locations: Readonly<Record<string, (registry: FaultRegistry) => string>> = {
      'another port': ({ strangerUrl }) => `${strangerUrl}/v2/group/app/blobs/uploads/x?_state=y`,
      'another name': ({ url }) => `http://elsewhere.test:${new URL(url).port}/v2/a/blobs/uploads/x`,
      'the metadata service': () => 'http://169.254.169.254/latest',
      'a file': () => 'file:///etc/passwd',
      'user and password': ({ strangerUrl }) => strangerUrl.replace('//', `//${username}:${password}@`),
    };
    for (const [what, location] of Object.entries(locations)) {
      for (const method of ['POST', 'PATCH']) {
        hostile(
          `${method} answers with ${what}`,
          ({ registry }) => ({ kind: 'headers', set: { Location: location(registry) } }),
          { method, path: /\/uploads\// },
          async (current) => {
            const bytes = Buffer.alloc(100_000, 2);
            const upload = await current.store.startUpload(current.name);
            for (let at = 0; at < bytes.length; at += 10_000) {
              await upload.write(bytes.subarray(at, at + 10_000));
            }
            return upload.status().then(() => upload.finish(digestOf(bytes)));
          },
        );
      }
    }
  });

  describe('foreign layers', () => {
    const urls: Readonly<Record<string, (registry: FaultRegistry) => string>> = {
      'a host': ({ strangerUrl }) => `${strangerUrl}/layer`,
      'a host with user and password': ({ strangerUrl }) =>
        strangerUrl.replace('//', `//${username}:${password}@`),
      'the registry itself': ({ url }) => `${url}/v2/private/manifests/secret`,
      'the metadata service': () => 'http://169.254.169.254/latest',
      'a name of the metadata service': () => 'https://metadata.test/latest',
      'a file': () => 'file:///etc/passwd',
    };
    for (const [what, url] of Object.entries(urls)) {
      void test(`at ${what}`, deadline, async () => {
        const current = await credentialScene();
        const { registry, store, name } = current;
        try {
          watch.forget();
          const descriptor = {
            mediaType: mediaTypes.dockerForeignLayerGzip,
            digest: digestOf(Buffer.from('foreign')),
            size: 7,
            urls: [url(registry)],
          };
          const reading = store.fetch(name, descriptor).then((body) => readBody(body));
          const bytes = await reading.catch((error: unknown) => {
            assert.ok(isImgfsError(error) && error.code !== 'internal', String(error));
          });
          assert.notEqual(bytes?.toString(), 'foreign');
          const abroad = registry.requestsTo({ path: /\/v2\/private\// });
          assert.ok(abroad.every(({ headers }) => headers['authorization'] === undefined));
          assertNoLeak(watch, current);
        } finally {
          await current.close();
        }
      });
    }
  });
});
