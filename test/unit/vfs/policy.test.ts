/** A tree with a policy.json: what it rejects is refused, with the reason; the rest is as without one. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { parsePolicy } from '../../../src/image/signatures/policy.js';
import { createFixture, host } from '../../support/file-system-fixture.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';

const image = await sampleImage({ payloadBytes: 5000 });
const index = await buildIndex([image]);
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const policy = parsePolicy(
  Buffer.from(
    JSON.stringify({
      default: [{ type: 'reject' }],
      transports: {
        docker: {
          [`${host}/open`]: [{ type: 'insecureAcceptAnything' }],
          [`${host}/signed`]: [
            {
              type: 'sigstoreSigned',
              keyData: Buffer.from(publicKey.export({ type: 'spki', format: 'pem' })).toString('base64'),
              signedIdentity: { type: 'matchRepository' },
            },
          ],
        },
      },
    }),
  ),
  'policy.json',
);

test('I24 images that a policy rejects are refused with the reason, and say who they are', async () => {
  const { store, list, read, entry } = createFixture({ fileSystem: { policy } });
  for (const name of ['open', 'signed', 'closed']) {
    store.add(name, image, 'v1');
    store.add(name, index, 'multi');
  }
  const denied = (says: RegExp) => ({ code: 'denied', message: says });
  assert.ok((await list(`${host}/open/v1`)).includes('manifest.json'));
  assert.ok((await list(`${host}/open/multi/platforms/linux-amd64`)).includes('manifest.json'));
  for (const tag of ['v1', 'multi']) {
    await entry(`${host}/closed/${tag}`);
    await assert.rejects(list(`${host}/closed/${tag}`), denied(/the policy rejects it/));
    for (const name of ['manifest.json', 'config.json', 'layers', 'inspect.json', 'platforms', 'referrers'])
      await assert.rejects(entry(`${host}/closed/${tag}/${name}`), denied(/the policy rejects it/), name);
  }
  await assert.rejects(
    entry(`${host}/closed/@digests/sha256/${image.descriptor.digest.slice(7)}/manifest.json`),
    denied(/the policy rejects it/),
  );
  await assert.rejects(entry(`${host}/signed/v1/manifest.json`), denied(/has no sigstore signature/));
  assert.equal(String(await read(`${host}/closed/v1/digest`)).trim(), image.descriptor.digest);
  assert.deepEqual(await list(`${host}/closed/v1/signatures`), []);
});
