/** Signatures: where they lie, what they claim, and what a policy makes of them. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { openContentCache } from '../../../src/content/disk.js';
import { Registry } from '../../../src/image/library/registry.js';
import { cosignPayload, parseSignaturePayload } from '../../../src/image/signatures/payload.js';
import { identityMatches, parsePolicy, requirementsFor } from '../../../src/image/signatures/policy.js';
import { policyForKeys } from '../../../src/image/signatures/verify-image.js';
import { openRegistriesD, parseMapping } from '../../../src/store/lookaside/registries-d.js';
import { readLookaside } from '../../../src/store/lookaside/lookaside.js';
import type { Environment } from '../../../src/store/registry/config/environment.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const image = await sampleImage({ payloadBytes: 1_000 });
const index = await buildIndex([image]);
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();

async function setup(t: TestContext) {
  const directory = await tempDir(t, 'signatures');
  const server = await startFaultRegistry();
  t.after(() => server.close());
  server.addImage('group/app', image, 'v1');
  server.addImage('group/app', index, 'multi');
  const content = await openContentCache({ directory: join(directory, 'cache') });
  t.after(() => content.close());
  const base = pathToFileURL(join(directory, 'lookaside')).href;
  const registry = new Registry(openTestStore(server, { options: hastyOptions }), {
    content,
    platform: { os: 'linux', architecture: 'amd64' },
    registriesD: { placeOf: async () => ({ read: base, write: base }) },
  });
  t.after(() => registry.close());
  const repository = registry.repository('group/app');
  const name = `${server.host}/group/app`;
  const keyFile = async (text: string): Promise<string> => {
    const path = join(directory, 'key.pem');
    await writeFile(path, text);
    return path;
  };
  return { directory, server, repository, name, keyFile, base };
}

test('signatures put through a destination are found by a source, and verified by key', limits, async (t) => {
  const { repository, name, keyFile, server } = await setup(t);
  const payload = cosignPayload(image.descriptor.digest, name);
  const signature = sign('sha256', payload, ec.privateKey).toString('base64');
  const other = sign('sha256', payload, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const places = await repository.destination('v1').putSignatures([
    { format: 'sigstore', payload, signature: other.toString('base64') },
    { format: 'sigstore', payload, signature },
    { format: 'sigstore', payload, signature },
  ]);
  assert.match(places[0] ?? '', /:sha256-[0-9a-f]{64}\.sig$/);
  const source = await repository.source('v1');
  const found = await source.getSignatures();
  assert.equal(found.length, 2, 'one payload, two signatures');
  const policy = policyForKeys('sigstoreSigned', [await keyFile(pem(ec.publicKey))]);
  const verdict = await source.verify(policy);
  assert.equal(verdict.manifestDigest, image.descriptor.digest);
  assert.ok(server.content.repositories.get('group/app')?.tags.size === 3);
});

test(
  'a signature of the chosen image or of its index is enough; of another one it is not',
  limits,
  async (t) => {
    const { repository, name, keyFile } = await setup(t);
    const policy = policyForKeys('sigstoreSigned', [await keyFile(pem(ec.publicKey))]);
    const multi = await repository.source('multi');
    await assert.rejects(multi.verify(policy), { code: 'denied', message: /has no sigstore signature/ });
    const wrong = cosignPayload(index.descriptor.digest, 'registry.test/other');
    const put = (payload: Uint8Array) =>
      repository.destination('multi').putSignatures([
        {
          format: 'sigstore',
          payload,
          signature: sign('sha256', payload, ec.privateKey).toString('base64'),
        },
      ]);
    await put(wrong);
    await assert.rejects(multi.verify(policy), { code: 'denied', message: /matchRepository does not match/ });
    await put(cosignPayload(index.descriptor.digest, name));
    assert.equal((await multi.verify(policy)).manifestDigest, index.descriptor.digest);
    await assert.rejects((await repository.source('v1')).verify(policy), { code: 'denied' });
  },
);

test(
  'a good signature over another image of the same name is no signature of this one',
  limits,
  async (t) => {
    const { repository, name, keyFile } = await setup(t);
    const payload = cosignPayload(index.descriptor.digest, name);
    const signature = sign('sha256', payload, ec.privateKey).toString('base64');
    await repository.destination('v1').putSignatures([{ format: 'sigstore', payload, signature }]);
    const policy = policyForKeys('sigstoreSigned', [await keyFile(pem(ec.publicKey))]);
    const source = await repository.source('v1');
    await assert.rejects(source.verify(policy), { code: 'denied', message: /a signature over sha256/ });
  },
);

test('simple signing goes into the lookaside and is read from it', limits, async (t) => {
  const { repository, base } = await setup(t);
  const message = Buffer.from('an OpenPGP message');
  const [path] = await repository.destination('v1').putSignatures([{ format: 'simple-signing', message }]);
  assert.match(path ?? '', /group\/app@sha256=[0-9a-f]{64}\/signature-1$/);
  const again = await repository.destination('v1').putSignatures([
    { format: 'simple-signing', message },
    { format: 'simple-signing', message: Buffer.from('second') },
  ]);
  assert.deepEqual(
    again.map((each) => each.slice(-11)),
    ['signature-1', 'signature-2'],
  );
  const found = await (await repository.source('v1')).getSignatures();
  assert.deepEqual(
    found.map(({ format }) => format),
    ['simple-signing', 'simple-signing'],
  );
  await assert.rejects(readLookaside('ftp://x', 'a', image.descriptor.digest), { code: 'config' });
  assert.deepEqual(await readLookaside(base, 'other', image.descriptor.digest), []);
});

test('keys of each kind verify, and changed bytes do not', limits, async (t) => {
  const { repository, name, keyFile } = await setup(t);
  const kinds = [
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ];
  for (const { publicKey, privateKey } of kinds) {
    const payload = cosignPayload(image.descriptor.digest, name);
    const algorithm = publicKey.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    const signature = sign(algorithm, payload, privateKey).toString('base64');
    await repository.destination('v1').putSignatures([{ format: 'sigstore', payload, signature }]);
    const policy = policyForKeys('sigstoreSigned', [await keyFile(pem(publicKey))]);
    const source = await repository.source('v1');
    // The payload is one blob with several signatures; each key finds its own.
    const found = await source.getSignatures();
    assert.ok(found.length >= 1);
    await source.verify(policy);
  }
});

test('payloads that claim something else are refused', () => {
  const { digest } = image.descriptor;
  const good = parseSignaturePayload(cosignPayload(digest, 'registry.test/app'));
  assert.deepEqual([good.manifestDigest, good.reference], [digest, 'registry.test/app']);
  for (const bad of ['{}', '[]', '{"critical":{"type":"x","image":{},"identity":{}}}', 'no'])
    assert.throws(() => parseSignaturePayload(Buffer.from(bad)), { code: 'invalid-content' });
});

const policyOf = (document: unknown) => parsePolicy(Buffer.from(JSON.stringify(document)), 'policy.json');

test('a policy is read strictly: what is not understood is an error', () => {
  const accept = [{ type: 'insecureAcceptAnything' }];
  for (const bad of [
    {},
    { default: [] },
    { default: accept, extra: 1 },
    { default: [{ type: 'insecureAcceptAnything', more: 1 }] },
    { default: [{ type: 'signedBy', keyType: 'GPGKeys' }] },
    { default: [{ type: 'signedBy', keyType: 'X509', keyPath: 'a' }] },
    { default: [{ type: 'sigstoreSigned', keyPath: 'a', keyData: 'YQ==' }] },
    { default: [{ type: 'sigstoreSigned', fulcio: {}, rekorPublicKeyPath: 'a' }] },
    { default: [{ type: 'sigstoreSigned', keyPath: 'a', signedIdentity: { type: 'nobody' } }] },
    { default: accept, transports: { docker: { '': [] } } },
  ])
    assert.throws(() => policyOf(bad), { code: 'config' }, JSON.stringify(bad));
});

test('the most specific scope of a policy decides', () => {
  const reject = [{ type: 'reject' }];
  const accept = [{ type: 'insecureAcceptAnything' }];
  const policy = policyOf({
    default: reject,
    transports: {
      docker: {
        'registry.test/a/b:v1': accept,
        'registry.test/a/b': reject,
        'registry.test/a': accept,
        '*.example': accept,
        '': reject,
      },
      oci: { '/srv/images': accept },
    },
  });
  const scope = (name: string, tag?: string, transport: 'docker' | 'oci' | 'dir' = 'docker') =>
    requirementsFor(policy, { transport, name, ...(tag === undefined ? {} : { tag }) }).scope;
  assert.equal(scope('registry.test/a/b', 'v1'), 'docker:registry.test/a/b:v1');
  assert.equal(scope('registry.test/a/b', 'v2'), 'docker:registry.test/a/b');
  assert.equal(scope('registry.test/a/c', 'v2'), 'docker:registry.test/a');
  assert.equal(scope('hub.deep.example:5000/x', 'v2'), 'docker:*.example');
  assert.equal(scope('other.test/x'), 'docker:');
  assert.equal(scope('/srv/images/one', 'v1', 'oci'), 'oci:/srv/images');
  assert.equal(scope('/srv/x', 'v1', 'dir'), 'default');
});

test('identities: exact, repository, digest or exact, remapped', () => {
  const subject = { transport: 'docker', name: 'registry.test/app', tag: 'v1' } as const;
  const { tag: _tag, ...untagged } = { ...subject, digest: image.descriptor.digest };
  const cases: [Parameters<typeof identityMatches>[0], string, typeof subject | typeof untagged, boolean][] =
    [
      [{ type: 'matchExact' }, 'registry.test/app:v1', subject, true],
      [{ type: 'matchExact' }, 'registry.test/app:v2', subject, false],
      [{ type: 'matchExact' }, 'registry.test/app', subject, false],
      [{ type: 'matchExact' }, 'registry.test/app:v1', untagged, false],
      [{ type: 'matchRepoDigestOrExact' }, 'registry.test/app:v7', untagged, true],
      [{ type: 'matchRepoDigestOrExact' }, 'registry.test/app:v7', subject, false],
      [{ type: 'matchRepository' }, 'registry.test/app:v7', subject, true],
      [{ type: 'matchRepository' }, 'registry.test/application', subject, false],
      [{ type: 'exactReference', dockerReference: 'a.test/x:y' }, 'a.test/x:y', subject, true],
      [{ type: 'exactRepository', dockerRepository: 'a.test/x' }, 'a.test/x:y', subject, true],
      [
        { type: 'remapIdentity', prefix: 'registry.test', signedPrefix: 'up.test' },
        'up.test/app:v1',
        subject,
        true,
      ],
      [
        { type: 'remapIdentity', prefix: 'registry', signedPrefix: 'up.test' },
        'up.test/app:v1',
        subject,
        false,
      ],
      [{ type: 'matchRepository' }, '../../x', subject, false],
    ];
  for (const [identity, signed, about, expected] of cases)
    assert.equal(identityMatches(identity, signed, about), expected, `${identity.type} ${signed}`);
});

test(
  'registries.d: the most specific name, the user instead of the system, and nothing guessed',
  limits,
  async (t) => {
    const root = await tempDir(t, 'registries-d');
    const write = async (folder: string, name: string, text: string) => {
      await mkdir(join(root, folder), { recursive: true });
      await writeFile(join(root, folder, name), text);
    };
    await write(
      'etc/containers/registries.d',
      'default.yaml',
      '# comment\ndefault-docker:\n  lookaside: file:///default # where\n  lookaside-staging: "file:///staging"\n',
    );
    const environment: Environment = {
      variables: {},
      home: join(root, 'home'),
      root,
      uid: 1000,
      platform: 'linux',
      workingDirectory: root,
    };
    const registriesD = openRegistriesD(environment);
    const fallback = { read: 'file:///default', write: 'file:///staging' };
    assert.deepEqual(await registriesD.placeOf('registry.test:5000/other'), fallback);
    await write(
      'home/.config/containers/registries.d',
      'mine.yaml',
      "docker:\n  registry.test:5000/group:\n    lookaside: https://sigs.test/x\n  registry.test:5000/group/app:v1:\n    sigstore: 'file:///old'\n",
    );
    assert.deepEqual(await registriesD.placeOf('registry.test:5000/group/app:v1'), {
      read: 'file:///old',
      write: 'file:///old',
    });
    assert.equal((await registriesD.placeOf('registry.test:5000/group/app:v2'))?.read, 'https://sigs.test/x');
    assert.equal(await registriesD.placeOf('registry.test:5000/other'), undefined);
    for (const bad of ['a: [1]', '- a', 'a: &x y', '{a: b}', 'a: |\n  b', 'just text'])
      assert.throws(() => parseMapping(bad, 'x.yaml'), { code: 'config' }, bad);
  },
);
