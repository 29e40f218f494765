/** Signatures that stores keep themselves, sigstore bundles, and the policy of a tree. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { openContentCache } from '../../../src/content/disk.js';
import { Registry } from '../../../src/image/library/registry.js';
import { cosignPayload } from '../../../src/image/signatures/payload.js';
import { encodeSigstore, parseStoredSignature } from '../../../src/image/signatures/stored-signature.js';
import { policyForKeys } from '../../../src/image/signatures/verify-image.js';
import { digestHex } from '../../../src/oci/digest.js';
import { openContainersStorage } from '../../../src/store/containers-storage/open-storage.js';
import { openDirStore } from '../../../src/store/dir/dir-store.js';
import type { ImageStore } from '../../../src/store/store.js';
import { addStoredImage } from '../../support/containers-storage.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { buildArtifact, buildIndex, sampleImage, type BuiltImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const image = await sampleImage({ payloadBytes: 1_000 });
const { digest } = image.descriptor;
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signed = (bytes: Uint8Array, key: KeyObject = ec.privateKey): string =>
  sign('sha256', bytes, key).toString('base64');

async function library(t: TestContext, store: ImageStore): Promise<Registry> {
  const content = await openContentCache({ directory: join(await tempDir(t, 'cache'), 'cache') });
  const registry = new Registry(store, { content, platform: { os: 'linux', architecture: 'amd64' } });
  t.after(async () => {
    await registry.close();
    await content.close();
  });
  return registry;
}

async function keyFile(t: TestContext, key: KeyObject = ec.publicKey): Promise<string> {
  const path = join(await tempDir(t, 'key'), 'key.pem');
  await writeFile(path, key.export({ type: 'spki', format: 'pem' }));
  return path;
}

async function dirOf(t: TestContext, built: BuiltImage) {
  const store = await openDirStore(join(await tempDir(t, 'dir'), 'new'), { create: true });
  for (const { bytes, descriptor } of built.blobs) {
    const upload = await store.startUpload('');
    await upload.write(bytes);
    await upload.finish(descriptor.digest);
  }
  for (const { bytes, descriptor } of built.manifests)
    await store.putManifest('', bytes, descriptor.mediaType, {
      child: descriptor.digest !== built.descriptor.digest,
    });
  return store;
}

test(
  'signatures of a dir: are files beside the manifest, put and found, verified by key',
  limits,
  async (t) => {
    const store = await dirOf(t, image);
    const repository = (await library(t, store)).repository('');
    const payload = cosignPayload(digest, 'registry.test/app');
    const message = Buffer.from([0x90, 1, 2, 3]);
    const signature = signed(payload);
    const put = () =>
      repository.destination('latest').putSignatures([
        { format: 'simple-signing', message },
        { format: 'sigstore', payload, signature },
      ]);
    assert.deepEqual(
      (await put()).map((path) => path.slice(-11)),
      ['signature-1', 'signature-2'],
    );
    await put();
    assert.deepEqual(await readFile(join(store.path, 'signature-1')), message);
    const second = await readFile(join(store.path, 'signature-2'));
    assert.ok(second.toString('latin1').startsWith('\0sigstore-json\n{"mimeType":'));
    const source = await repository.source('latest');
    const found = await source.getSignatures();
    assert.deepEqual(
      found.map(({ format, origin }) => [format, origin]),
      [
        ['simple-signing', 'store'],
        ['sigstore', 'store'],
      ],
    );
    const policy = (path: string) =>
      policyForKeys('sigstoreSigned', [path], {
        type: 'exactRepository',
        dockerRepository: 'registry.test/app',
      });
    assert.equal((await source.verify(policy(await keyFile(t)))).manifestDigest, digest);
    await assert.rejects(source.verify(policy(await keyFile(t, other.publicKey))), { code: 'denied' });
  },
);

test('signatures of a child in a dir: have its digits in front', limits, async (t) => {
  const index = await buildIndex([image]);
  const store = await dirOf(t, index);
  const message = Buffer.from([0x90]);
  await store.putSignature('', digest, message);
  await store.putSignature('', index.descriptor.digest, Buffer.from([0x91]));
  assert.deepEqual(await readFile(join(store.path, `${digestHex(digest)}.signature-1`)), message);
  assert.deepEqual(await readFile(join(store.path, 'signature-1')), Buffer.from([0x91]));
  const source = await (await library(t, store)).repository('').source('latest');
  assert.equal((await source.getSignatures()).length, 2);
  const absent = (await sampleImage({ seed: 9, payloadBytes: 9 })).descriptor.digest;
  await assert.rejects(store.putSignature('', absent, message), { code: 'not-found' });
});

test('stored forms are those of containers/image, and an unknown one is said to be that', () => {
  const bytes = encodeSigstore(Buffer.from('{}'), 'c2ln', { more: 'x' });
  const parsed = parseStoredSignature(bytes, digest, 'store');
  assert.ok(parsed.format === 'sigstore');
  assert.deepEqual([parsed.signature, parsed.annotations['more']], ['c2ln', 'x']);
  const named = Buffer.concat([Buffer.from('\0simple-signing\n'), Buffer.from([0x90, 7])]);
  const simple = parseStoredSignature(named, digest, 'store');
  assert.ok(simple.format === 'simple-signing');
  assert.deepEqual(Buffer.from(simple.message), Buffer.from([0x90, 7]));
  for (const bad of ['\0', '\0x', '\0what\n{}', '\0sigstore-json\n{}', '\0sigstore-json\nno'])
    assert.throws(
      () => parseStoredSignature(Buffer.from(bad), digest, 'store'),
      { code: 'invalid-content' },
      bad,
    );
});

test('signatures of containers-storage are cut by the sizes beside them', limits, async (t) => {
  const root = await tempDir(t, 'storage');
  await addStoredImage(root, image, ['localhost/app:v1']);
  const path = join(root, 'overlay-images/images.json');
  const images = JSON.parse(await readFile(path, 'utf8')) as { id: string; metadata?: string }[];
  const [first] = images;
  assert.ok(first !== undefined);
  const sizes = async (list: number[]) => {
    first.metadata = JSON.stringify({ 'signatures-sizes': { [digest]: list } });
    await writeFile(path, JSON.stringify(images));
  };
  await sizes([2, 3]);
  const key = `=${Buffer.from(`signature-${digestHex(digest)}`).toString('base64')}`;
  await writeFile(join(root, 'overlay-images', first.id, key), Buffer.from([0x90, 1, 0x91, 2, 3]));
  const store = await openContainersStorage({ root });
  t.after(() => store.close());
  assert.deepEqual(
    (await store.signatures('', digest))?.map((bytes) => [...bytes]),
    [
      [0x90, 1],
      [0x91, 2, 3],
    ],
  );
  await sizes([2, 300]);
  await assert.rejects(store.signatures('', digest), { code: 'invalid-content', message: /5 of 302 bytes/ });
});

/** A registry with the extension in front of one without: all but `/extensions/` goes through. */
async function withExtension(t: TestContext) {
  const registry = await startFaultRegistry();
  registry.addImage('group/app', image, 'v1');
  const kept = new Map<string, object[]>();
  let isBroken = false;
  const onExtension = async (incoming: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const path = incoming.url ?? '';
    if (incoming.method === 'GET') {
      if (!kept.has(path)) return void answer.writeHead(404).end();
      return void answer
        .writeHead(200)
        .end(isBroken ? '{"signatures":7}' : JSON.stringify({ signatures: kept.get(path) }));
    }
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const document = JSON.parse(Buffer.concat(parts).toString()) as { name: string; type: string };
    assert.match(document.name, /^sha256:[0-9a-f]{64}@[0-9a-f]{32}$/);
    kept.set(path, [...(kept.get(path) ?? []), document, { schemaVersion: 3, type: 'new', content: '' }]);
    answer.writeHead(201).end();
  };
  const server: Server = createServer((incoming, answer) => {
    if (incoming.url?.startsWith('/extensions/v2/') === true) return void onExtension(incoming, answer);
    const { method, url, headers } = incoming;
    const onward = request(`${registry.url}${url ?? ''}`, { method, headers }, (reply) => {
      answer.writeHead(reply.statusCode ?? 500, { ...reply.headers, 'x-registry-supports-signatures': '1' });
      reply.pipe(answer);
    });
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await registry.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { host, url: `http://${host}`, kept, plain: registry, break: () => (isBroken = true) };
}

test(
  'a registry with the signature extension keeps simple signing itself; one without is asked once',
  limits,
  async (t) => {
    const server = await withExtension(t);
    const repository = (await library(t, openTestStore(server, { options: hastyOptions }))).repository(
      'group/app',
    );
    const message = Buffer.from([0x90, 1, 2]);
    const source = await repository.source('v1');
    assert.deepEqual(await source.getSignatures(), []);
    const put = () => repository.destination('v1').putSignatures([{ format: 'simple-signing', message }]);
    assert.match((await put())[0] ?? '', new RegExp(`/extensions/v2/group/app/signatures/${digest}$`));
    await put();
    assert.deepEqual(
      [...server.kept.values()].map((list) => list.length),
      [2],
      'put once, with one of an unknown version',
    );
    const [found] = await source.getSignatures();
    assert.ok(found?.format === 'simple-signing' && found.origin === 'store');
    assert.deepEqual(Buffer.from(found.message), message);
    server.break();
    await assert.rejects(source.getSignatures(), { code: 'protocol', message: /signatures/ });
    const without = openTestStore(server.plain, { options: hastyOptions });
    t.after(() => without.close());
    assert.equal(await without.signatures('group/app', digest), undefined);
    assert.equal(await without.putSignature('group/app', digest, message), undefined);
  },
);

const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json';

function envelopeBundle(
  about: string,
  key: KeyObject,
  change: (payload: Buffer) => Buffer = (payload) => payload,
): string {
  const type = 'application/vnd.in-toto+json';
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: about } }],
    predicateType: 'https://sigstore.dev/cosign/sign/v1',
    predicate: {},
  };
  const payload = Buffer.from(JSON.stringify(statement));
  const encoded = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
  return JSON.stringify({
    mediaType: bundleType,
    verificationMaterial: { publicKey: { hint: 'x' } },
    dsseEnvelope: {
      payload: change(payload).toString('base64'),
      payloadType: type,
      signatures: [{ sig: signed(encoded, key) }],
    },
  });
}

function messageBundle(bytes: Uint8Array, named: string, key: KeyObject): string {
  return JSON.stringify({
    mediaType: bundleType,
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: Buffer.from(named, 'hex').toString('base64') },
      signature: signed(bytes, key),
    },
  });
}

async function withReferrer(t: TestContext, content: string, type = bundleType) {
  const server = await startFaultRegistry();
  t.after(() => server.close());
  server.addImage('group/app', image, 'v1');
  const artifact = buildArtifact({
    artifactType: type === bundleType ? bundleType : 'application/vnd.cncf.notary.signature',
    subject: image.descriptor,
    files: [{ title: 'signature', content, mediaType: type }],
  });
  server.addImage('group/app', artifact);
  const registry = await library(t, openTestStore(server, { options: hastyOptions }));
  return registry.repository('group/app').source('v1');
}

test(
  'sigstore bundles are verified with a key: statements and signatures of the manifest',
  limits,
  async (t) => {
    const hex = digestHex(digest);
    const manifest = image.manifests[0]?.bytes ?? Buffer.alloc(0);
    const key = await keyFile(t);
    for (const good of [envelopeBundle(hex, ec.privateKey), messageBundle(manifest, hex, ec.privateKey)]) {
      const source = await withReferrer(t, good);
      assert.deepEqual(
        (await source.getSignatures()).map(({ format }) => format),
        ['sigstore-bundle'],
      );
      const verdict = await source.verify(policyForKeys('sigstoreSigned', [key]));
      assert.equal(verdict.manifestDigest, digest);
      assert.match(verdict.reasons[0] ?? '', /in a sigstore bundle/);
      // A bundle names no image: whoever asks for a name is not satisfied.
      const named = policyForKeys('sigstoreSigned', [key], { type: 'matchRepository' });
      await assert.rejects(source.verify(named), { code: 'denied' });
    }
    const bad = [
      envelopeBundle(hex, other.privateKey),
      envelopeBundle('0'.repeat(64), ec.privateKey),
      envelopeBundle(hex, ec.privateKey, (payload) =>
        Buffer.from(payload.toString().replace('predicate":{}', 'predicate":[]')),
      ),
      messageBundle(manifest, hex, other.privateKey),
      messageBundle(Buffer.from('other bytes'), hex, ec.privateKey),
      messageBundle(manifest, '0'.repeat(64), ec.privateKey),
      '{}',
      'no json',
    ];
    for (const content of bad) {
      const source = await withReferrer(t, content);
      await assert.rejects(
        source.verify(policyForKeys('sigstoreSigned', [key])),
        { code: 'denied' },
        content,
      );
    }
  },
);

test('envelopes of notation are listed as what they are', limits, async (t) => {
  for (const type of ['application/jose+json', 'application/cose']) {
    const source = await withReferrer(t, '{}', type);
    assert.deepEqual(
      (await source.getSignatures()).map(({ format }) => format),
      ['notation'],
    );
  }
});
