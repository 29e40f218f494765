import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestHex } from '../../../../src/oci/digest.js';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import {
  openDockerDaemon,
  type DockerDaemonStore,
} from '../../../../src/store/docker-daemon/docker-daemon-store.js';
import { buildSaved } from '../../../support/archive-writer.js';
import { collect, readBody, rejectsWith } from '../../../support/bodies.js';
import { startFakeEngine, type FakeEngine } from '../../../support/fake-engine.js';
import { sampleImage, type BuiltSingleImage } from '../../../support/image-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

async function addImage(engine: FakeEngine, image: BuiltSingleImage, names: string[]): Promise<string> {
  const id = image.config.descriptor.digest;
  engine.images.push({ id, names, archive: await buildSaved([{ image, tags: [] }]) });
  return id;
}

interface Fixture {
  readonly engine: FakeEngine;
  readonly spoolDirectory: string;
  readonly open: () => Promise<DockerDaemonStore>;
}

async function fixture(t: TestContext): Promise<Fixture> {
  const engine = await startFakeEngine(t);
  const spoolDirectory = await tempDir(t, 'spool');
  const open = async (): Promise<DockerDaemonStore> => {
    const store = await openDockerDaemon({ root: engine.socket }, { spoolDirectory });
    t.after(() => store.close());
    return store;
  };
  return { engine, spoolDirectory, open };
}

describe('docker-daemon', limits, () => {
  it('lists names, and exports an image once, also for the next process', async (t) => {
    const { engine, open } = await fixture(t);
    const image = await sampleImage();
    await addImage(engine, image, ['alpine:3.20', 'example.org/app:v1']);
    await addImage(engine, await sampleImage({ seed: 2 }), []);
    const store = await open();
    assert.deepEqual(await collect(store.repositories()), [
      '',
      'docker.io/library/alpine',
      'example.org/app',
    ]);
    assert.deepEqual(await collect(store.tags('alpine')), ['3.20']);
    assert.equal(engine.requests.filter((line) => line.endsWith('/get')).length, 0);
    for (const client of [store, await open()]) {
      const { descriptor } = await store.resolve({ repository: 'alpine', tag: '3.20' });
      const manifest = parseManifest(await readBody(await client.fetch('alpine', descriptor)));
      assert.ok(manifest.kind === 'image');
      for (const [at, layer] of manifest.layers.entries()) {
        assert.equal(layer.digest, image.layers[at]?.diffId);
        assert.deepEqual(
          await readBody(await client.fetch('alpine', layer)),
          Buffer.from(image.layers[at]?.tar ?? []),
        );
      }
      assert.equal(
        (await client.resolve({ repository: 'alpine', digest: descriptor.digest })).descriptor.size,
        descriptor.size,
      );
    }
    assert.equal(engine.requests.filter((line) => line.endsWith('/get')).length, 1);
    await rejectsWith(store.resolve({ repository: 'alpine', tag: 'absent' }), 'not-found');
    await rejectsWith(store.resolve({ repository: 'alpine', tag: '../../../x' }), 'not-found');
    assert.ok((await store.resolve({ repository: '', tag: '@1' })).descriptor);
  });

  it('keeps one export of two fetched at once, and none of images that are gone', async (t) => {
    const { engine, spoolDirectory, open } = await fixture(t);
    const id = await addImage(engine, await sampleImage(), ['a:b']);
    const [one, two] = [await open(), await open()];
    await Promise.all([one, two].map((store) => store.resolve({ repository: 'a', tag: 'b' })));
    assert.equal(engine.requests.filter((line) => line.endsWith('/get')).length, 1);
    const names = (): Promise<string[]> => readdir(join(spoolDirectory, 'docker-daemon'));
    assert.deepEqual(await names(), [`${digestHex(id as never)}.tar`]);
    engine.images.length = 0;
    await open();
    assert.deepEqual(await names(), []);
  });

  it('an export goes on when its caller has given up, and ends with the store', async (t) => {
    const { engine, spoolDirectory, open } = await fixture(t);
    await addImage(engine, await sampleImage(), ['a:b']);
    engine.delayMs = 300;
    const store = await open();
    const target = { repository: 'a', tag: 'b' };
    await rejectsWith(store.resolve(target, { signal: AbortSignal.timeout(100) }), 'interrupted');
    assert.ok((await store.resolve(target)).descriptor);
    assert.equal(engine.requests.filter((line) => line.endsWith('/get')).length, 1);

    await addImage(engine, await sampleImage({ seed: 2 }), ['c:d']);
    engine.delayMs = 60_000;
    const waiting = assert.rejects(store.resolve({ repository: 'c', tag: 'd' }));
    await sleep(100);
    await store.close();
    await waiting;
    assert.equal((await readdir(join(spoolDirectory, 'docker-daemon'))).length, 1);
  });

  it('tags and removes', async (t) => {
    const { engine, open } = await fixture(t);
    await addImage(engine, await sampleImage(), ['a:b']);
    const store = await open();
    const { descriptor } = await store.resolve({ repository: 'a', tag: 'b' });
    await store.tag({ repository: 'a', digest: descriptor.digest }, 'a', 'c');
    assert.deepEqual(await collect(store.tags('a')), ['b', 'c']);
    await store.deleteTag('a', 'b');
    assert.deepEqual(await collect(store.tags('a')), ['c']);
    await rejectsWith(store.deleteTag('a', 'b'), 'not-found');
    await store.deleteManifest('a', descriptor.digest);
    assert.equal(engine.images.length, 0);
    await rejectsWith(store.tag({ repository: 'a', tag: 'c' }, 'a', 'no tag'), 'name-invalid');
  });

  it('an engine that is absent, too old, none at all, or behind a network', async (t) => {
    const { engine, open } = await fixture(t);
    await assert.rejects(openDockerDaemon({ root: '/nonexistent/docker.sock' }), {
      code: 'unavailable',
      hint: /start it/,
    });
    engine.version = '1.20';
    await assert.rejects(open(), { code: 'unsupported', message: /1\.20, 1\.24 is needed/ });
    engine.version = 'nonsense';
    await rejectsWith(open(), 'protocol');
    engine.version = '1.99';
    await open();
    assert.ok(engine.requests.includes('GET /images/json'));
    await rejectsWith(openDockerDaemon({}, {}, { DOCKER_HOST: 'tcp://x:2375' }), 'unsupported');
  });

  it('an export that breaks off is an error, and is fetched anew', async (t) => {
    const { engine, spoolDirectory, open } = await fixture(t);
    await addImage(engine, await sampleImage(), ['a:b']);
    const store = await open();
    engine.cutAt = 100_000;
    await rejectsWith(store.resolve({ repository: 'a', tag: 'b' }), 'unavailable');
    assert.deepEqual(await readdir(join(spoolDirectory, 'docker-daemon')), []);
    engine.cutAt = undefined;
    assert.ok((await store.resolve({ repository: 'a', tag: 'b' })).descriptor);
  });

  it('a load that fails inside a 200 stream is an error', async (t) => {
    const { engine, open } = await fixture(t);
    const store = await open();
    const archive = async function* archive(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('archive');
    };
    await store.load(archive());
    assert.equal(engine.loaded[0]?.toString(), 'archive');
    engine.loadAnswer =
      '{"status":"Loading"}\n{"errorDetail":{"message":"no space"},"error":"no space left on\\ndevice"}\n';
    await assert.rejects(store.load(archive()), {
      code: 'unavailable',
      message: /says: no space left on device/,
    });
    engine.loadAnswer = 'not json';
    await rejectsWith(store.load(archive()), 'protocol');
    await rejectsWith(store.load(archive(), { signal: AbortSignal.abort() }), 'interrupted');
  });
});
