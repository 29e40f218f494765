/** Notation signatures against a trust store, with certificates that openssl makes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openContentCache } from '../../../src/content/disk.js';
import { Registry } from '../../../src/image/library/registry.js';
import { parseCertificates, verifyNotation } from '../../../src/image/signatures/notation.js';
import { policyForAuthorities, policyForKeys } from '../../../src/image/signatures/verify-image.js';
import { digestOf } from '../../../src/oci/digest.js';
import { skipWithout } from '../../support/child.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { sampleImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { makeTempDir, removeTempDir, tempDir } from '../../support/temp.js';

const digest = digestOf(Buffer.from('a manifest'));
const mediaType = 'application/jose+json';
const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('notation signatures', { skip: skipWithout('openssl'), timeout: 60_000 }, () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  const openssl = (...words: string[]): void =>
    void execFileSync('openssl', words, { cwd: directory, stdio: 'pipe' });
  const newKey = {
    rsa: ['-newkey', 'rsa:2048'],
    ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  };

  function authority(name: string): void {
    const extensions = [
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'keyUsage=critical,keyCertSign',
    ];
    openssl(
      'req',
      '-x509',
      ...newKey.ec,
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
      '-days',
      '30',
      ...extensions,
    );
  }

  function leaf(name: string, issuer: string, kind: 'rsa' | 'ec', usage = 'codeSigning'): void {
    openssl(
      'req',
      ...newKey[kind],
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}/O=test`,
    );
    writeFileSync(at(`${name}.ext`), `keyUsage=critical,digitalSignature\nextendedKeyUsage=${usage}\n`);
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${issuer}.crt`,
      '-CAkey',
      `${issuer}.key`,
      '-CAcreateserial',
      '-days',
      '10',
      '-out',
      `${name}.crt`,
      '-extfile',
      `${name}.ext`,
    );
  }

  before(async () => {
    directory = await makeTempDir('notation');
    authority('root');
    authority('other');
    leaf('rsa', 'root', 'rsa');
    leaf('ec', 'root', 'ec');
    leaf('server', 'root', 'ec', 'serverAuth');
  });

  after(() => removeTempDir(directory));

  const certificate = (name: string): X509Certificate => new X509Certificate(readFileSync(at(`${name}.crt`)));
  const trusted = (name: string) => parseCertificates(readFileSync(at(`${name}.crt`)), name);

  interface Made {
    readonly by?: string;
    readonly chain?: readonly string[];
    readonly header?: object;
    readonly about?: string;
  }

  function made({ by = 'rsa', chain = [by, 'root'], header = {}, about = digest }: Made = {}): Record<
    string,
    unknown
  > {
    const isRsa = by === 'rsa';
    const payload = base64url({
      targetArtifact: { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: about, size: 10 },
    });
    const signed = base64url({
      alg: isRsa ? 'PS256' : 'ES256',
      cty: 'application/vnd.cncf.notary.payload.v1+json',
      crit: ['io.cncf.notary.signingScheme'],
      'io.cncf.notary.signingScheme': 'notary.x509',
      'io.cncf.notary.signingTime': new Date().toISOString(),
      ...header,
    });
    const key = createPrivateKey(readFileSync(at(`${by}.key`)));
    const padding = {
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    };
    const bytes = Buffer.from(`${signed}.${payload}`);
    const signature = sign('sha256', bytes, isRsa ? { key, ...padding } : { key, dsaEncoding: 'ieee-p1363' });
    const x5c = chain.map((name) => certificate(name).raw.toString('base64'));
    return { payload, protected: signed, header: { x5c }, signature: signature.toString('base64url') };
  }

  const verify = (envelope: Record<string, unknown>, store = 'root', now = new Date()) =>
    verifyNotation(
      { mediaType, payload: Buffer.from(JSON.stringify(envelope)) },
      trusted(store),
      [digest],
      now,
    );

  test('are good by a certificate that leads to a trusted one, RSA and ECDSA, with and without the root in the chain', () => {
    for (const by of ['rsa', 'ec'])
      for (const chain of [[by, 'root'], [by]]) {
        const verified = verify(made({ by, chain }));
        assert.equal(verified.manifestDigest, digest);
        assert.match(verified.signer, new RegExp(`CN=${by}`));
      }
  });

  test('are refused by another authority, another key, over another image, expired, or for another use', () => {
    const tampered = made();
    tampered['payload'] = made({ about: digestOf(Buffer.from('x')) })['payload'];
    const soon = {
      'io.cncf.notary.expiry': '2020-01-01T00:00:00Z',
      crit: ['io.cncf.notary.signingScheme', 'io.cncf.notary.expiry'],
    };
    const later = new Date(Date.now() + 20 * 86_400_000);
    for (const [attempt, says] of [
      [() => verify(made(), 'other'), /lead to none that is trusted/],
      [() => verify(made({ chain: ['rsa', 'other'] }), 'other'), /not by the one behind it/],
      [() => verify(made({ chain: ['ec', 'root'] })), /not by the key/],
      [() => verify(tampered), /over other bytes/],
      [() => verify(made({ about: digestOf(Buffer.from('x')) })), /notation signature over sha256:/],
      [() => verify(made({ header: soon })), /expired/],
      [() => verify(made({ by: 'server' })), /not for signing/],
      [() => verify(made(), 'root', later), /is valid from/],
    ] as const)
      assert.throws(
        attempt,
        (error: Error & { code?: string }) => error.code === 'integrity' && says.test(error.message),
        String(says),
      );
  });

  test('what must be understood and is not is refused, and what is no envelope', () => {
    const crit = ['io.cncf.notary.signingScheme', 'io.cncf.notary.verificationPlugin'];
    assert.throws(() => verify(made({ header: { crit } })), {
      code: 'unsupported',
      message: /verificationPlugin/,
    });
    assert.throws(
      () => verify(made({ header: { 'io.cncf.notary.signingScheme': 'notary.x509.signingAuthority' } })),
      { code: 'unsupported' },
    );
    assert.throws(
      () =>
        verifyNotation({ mediaType: 'application/cose', payload: Buffer.alloc(3) }, trusted('root'), [
          digest,
        ]),
      { code: 'unsupported' },
    );
    assert.throws(() => verify({ ...made(), header: {} }), { code: 'invalid-content' });
    assert.throws(() => verify({ ...made(), header: { x5c: ['AAAA'] } }), { code: 'invalid-content' });
    assert.throws(() => verify(made({ header: { alg: 'none' } })), { code: 'integrity' });
    assert.throws(() => verify(made({ header: { cty: 'text/plain' } })), { code: 'invalid-content' });
    assert.throws(() => parseCertificates(Buffer.from('x'), 'a.pem'), { code: 'config', message: /a\.pem/ });
  });

  test('an image signed in a registry is accepted by its authority alone, and others say what they did not look at', async (t) => {
    const server = await startFaultRegistry();
    t.after(() => server.close());
    const image = await sampleImage({ payloadBytes: 5_000 });
    server.addImage('group/app', image, 'v1');
    const content = await openContentCache({ directory: await tempDir(t, 'notation') });
    t.after(() => content.close());
    const registry = new Registry(openTestStore(server, { options: hastyOptions }), { content });
    t.after(() => registry.close());
    const repository = registry.repository('group/app');
    const attach = (envelope: object): Promise<unknown> =>
      repository.attach('v1', {
        artifactType: 'application/vnd.cncf.notary.signature',
        files: [{ title: 'envelope', mediaType, content: Buffer.from(JSON.stringify(envelope)) }],
      });
    await attach(made());
    const source = await repository.source('v1');
    await assert.rejects(source.verify(policyForAuthorities([at('root.crt')])), {
      code: 'denied',
      message: /notation signature over sha256:/,
    });
    await attach(made({ about: image.descriptor.digest }));
    const signed = await repository.source('v1');
    const verdict = await signed.verify(policyForAuthorities([at('other.crt'), at('root.crt')]));
    assert.equal(verdict.manifestDigest, image.descriptor.digest);
    assert.match(verdict.reasons.join(), /CN=rsa.*revoked/);
    await assert.rejects(signed.verify(policyForAuthorities([at('other.crt')])), { code: 'denied' });
    openssl('pkey', '-in', 'ec.key', '-pubout', '-out', 'ec.pub');
    await assert.rejects(signed.verify(policyForKeys('sigstoreSigned', [at('ec.pub')])), {
      code: 'denied',
      message: /no sigstore signature; its notation signatures were not looked at/,
    });
  });
});
