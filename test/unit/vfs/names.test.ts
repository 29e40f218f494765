import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { nameFromText } from '../../../src/oci/name.js';
import { sampleImage } from '../../support/image-builder.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { CountingStore } from '../../support/counting-store.js';

const notFound = { code: 'not-found' };
const image = await sampleImage({ payloadBytes: 1000 });
const other = await sampleImage({ seed: 2, payloadBytes: 1000 });

/** A registry with `team/app:v1`, `:latest`, `:cache`, and nested `team/app/cache:x`. */
function fixture(options: Parameters<typeof createFixture>[0] = {}): Fixture {
  const made = createFixture(options);
  made.store.add('team/app', image, 'v1', 'latest', 'cache');
  made.store.add('team/app/cache', other, 'x');
  return made;
}

test('N1 a host is a directory without a request', async () => {
  const { entry, store } = fixture();
  assert.equal((await entry(host)).attributes.type, 'directory');
  await entry('never.heard.of:5000');
  assert.deepEqual(store.taken(), []);
});

test('N2 a name at the root that is no host is ENOENT without a request', async () => {
  const { entry, store } = fixture();
  for (const name of [
    '.Trash',
    '.git',
    '.Trash-1000',
    'autorun.inf',
    'desktop.ini',
    'package.json',
    'foo',
    'a b',
  ]) {
    await assert.rejects(entry(name), notFound, name);
  }
  assert.deepEqual(store.taken(), []);
});

test('N3 a name that is legal neither as tag nor as repository is ENOENT without a request', async () => {
  const { entry, store } = fixture();
  await entry(`${host}/team/app`);
  store.taken();
  for (const name of ['.hidden', '@nothing', 'a b', '-x', 'Ä']) {
    await assert.rejects(entry(`${host}/team/app/${name}`), notFound, name);
  }
  assert.deepEqual(store.taken(), []);
});

test('N4 below a repository that has answered, a tag costs one request', async () => {
  const { entry, store } = fixture();
  await entry(`${host}/team/app`);
  store.taken();
  await entry(`${host}/team/app/v1`);
  assert.deepEqual(store.taken(), ['resolve team/app:v1']);
  await entry(`${host}/team/app/v1`);
  assert.deepEqual(store.taken(), [], 'believed for its time to live');
});

test('N5 below an unknown name, tag and nested repository are asked at once', async () => {
  let together = 0;
  let most = 0;
  const { fileSystem, caller, inode, store, advance } = fixture({
    before: async () => {
      together += 1;
      most = Math.max(most, together);
      await new Promise((resolve) => setTimeout(resolve, 5));
      together -= 1;
    },
  });
  const team = await inode(`${host}/team`);
  advance(5001);
  store.taken();
  most = 0;
  const { attributes } = await fileSystem.lookup(caller, team, nameFromText('app'));
  assert.equal(attributes?.type, 'directory');
  assert.deepEqual(store.taken(), ['resolve team:app', 'tags team/app']);
  assert.equal(most, 2);
});

test('N6 a tag that the registry does not know is ENOENT', async () => {
  const { entry, store, read } = fixture();
  await entry(`${host}/team/app`);
  store.taken();
  await assert.rejects(entry(`${host}/team/app/v9`), notFound);
  assert.deepEqual(store.taken(), ['resolve team/app:v9', 'tags team/app/v9']);
  await assert.rejects(read(`${host}/team/app/v9/manifest.json`), notFound);
});

test('N7 a misspelt repository is ENOENT where the registry has a catalog', async () => {
  const { entry } = fixture();
  await assert.rejects(entry(`${host}/nothing`), notFound);
  await assert.rejects(entry(`${host}/team/nothing`), notFound);
});

test('N8 a name that leads to repositories is a directory', async () => {
  const { entry, list } = fixture();
  assert.equal((await entry(`${host}/team`)).attributes.type, 'directory');
  assert.deepEqual(await list(`${host}/team`), ['app']);
});

test('N9 without a catalog an unknown name is taken for the way to a repository', async () => {
  const { entry, read } = fixture({ catalog: false });
  await entry(`${host}/team`);
  await entry(`${host}/group/sub`);
  await assert.rejects(read(`${host}/missing/v1/manifest.json`), notFound, 'but an image entry never is');
  await entry(`${host}/team/app`);
  await assert.rejects(entry(`${host}/team/app/v9`), notFound, 'nor a name below a repository that answers');
});

test('N10 where a tag and a known repository have one name, the directory is the repository', async () => {
  const { list, text } = fixture();
  await list(`${host}/team/app`);
  assert.ok((await list(`${host}/team/app/cache`)).includes('x'));
  assert.equal(await text(`${host}/team/app/@tags/cache/digest`), `${image.descriptor.digest}\n`);
  assert.equal(await text(`${host}/team/app:cache/digest`), `${image.descriptor.digest}\n`);
});

test('N11 a repository that hides behind a tag is found when something in it is looked up', async () => {
  const { text, entry, store } = fixture({ catalog: false });
  await entry(`${host}/team/app`);
  assert.equal(await text(`${host}/team/app/cache/digest`), `${image.descriptor.digest}\n`);
  store.taken();
  assert.equal(await text(`${host}/team/app/cache/x/digest`), `${other.descriptor.digest}\n`);
  await entry(`${host}/team/app/v1`);
  store.taken();
  await assert.rejects(entry(`${host}/team/app/v1/rootfs`), notFound);
  await assert.rejects(entry(`${host}/team/app/v1/.git`), notFound);
  assert.deepEqual(store.taken(), [], 'names of image directories and desktop probes ask nothing');
});

test('N12 a pasted reference is a path', async () => {
  const { text, list, entry } = fixture();
  assert.equal(await text(`${host}/team/app:v1/digest`), `${image.descriptor.digest}\n`);
  assert.equal(
    await text(`${host}/team/app@${image.descriptor.digest}/reference`),
    `${host}/team/app@${image.descriptor.digest}\n`,
  );
  await assert.rejects(entry(`${host}/team/app:v9`), notFound);
  await assert.rejects(entry(`${host}/team/app@sha256:123`), notFound);
  assert.ok(!(await list(`${host}/team`)).some((name) => name.includes(':')), 'not listed');
});

test('N13 Docker Hub has namespaces, repositories and tags, and nothing deeper', async () => {
  const { entry, store, text } = createFixture({ id: 'docker://docker.io', catalog: false });
  store.add('library/alpine', image, '3.20');
  await entry('docker.io/library');
  assert.deepEqual(store.taken(), []);
  await entry('docker.io/library/alpine');
  assert.deepEqual(store.taken(), ['tags library/alpine']);
  await entry('docker.io/library/alpine/3.20');
  await assert.rejects(entry('docker.io/library/alpine/3.99'), notFound);
  assert.deepEqual(store.taken(), ['resolve library/alpine:3.20', 'resolve library/alpine:3.99']);
  assert.equal(await text('docker.io/alpine:3.20/reference'), 'docker.io/library/alpine:3.20\n');
});

for (const [code, what] of [
  ['unavailable', 'an outage'],
  ['timeout', 'a deadline'],
  ['rate-limited', 'a rate limit'],
  ['protocol', 'a broken answer'],
] as const) {
  test(`N14 ${what} is never ENOENT`, async () => {
    const { entry, store } = fixture();
    await entry(`${host}/team/app`);
    store.before = () => {
      throw new ImgfsError(code, 'scripted');
    };
    await assert.rejects(entry(`${host}/team/app/v1`), { code });
    await assert.rejects(entry(`${host}/elsewhere`), { code });
    store.before = () => undefined;
    await entry(`${host}/team/app/v1`);
  });
}

test('N15 a registry that refuses an unknown name makes it enterable, and tags in it EACCES', async () => {
  const { entry, read, store } = fixture();
  store.before = (request) => {
    if (request.includes('private')) throw new ImgfsError('unauthorized', 'scripted 401');
  };
  const { entryTtlMs } = await entry(`${host}/private`);
  assert.ok(entryTtlMs <= 30_000, 'a login is noticed');
  await assert.rejects(read(`${host}/private/v1/manifest.json`), { code: 'unauthorized' });
});

test('N16 a misspelt tag of a public repository is ENOENT although the registry hides nested names', async () => {
  const { entry, store } = fixture({ catalog: false });
  await entry(`${host}/team/app`);
  store.before = (request) => {
    if (request.startsWith('tags team/app/')) throw new ImgfsError('denied', 'scripted 403');
  };
  await assert.rejects(entry(`${host}/team/app/v9`), notFound);
});

test('N17 a missing name is asked again after a few seconds', async () => {
  const { entry, store, advance } = fixture();
  await entry(`${host}/team/app`);
  await assert.rejects(entry(`${host}/team/app/v9`), notFound);
  store.taken();
  await assert.rejects(entry(`${host}/team/app/v9`), notFound);
  assert.deepEqual(store.taken(), []);
  store.add('team/app', image, 'v9');
  advance(5001);
  await entry(`${host}/team/app/v9`);
});

test('N18 names known from earlier runs or the configuration need no request and are listed', async () => {
  const { entry, list, store } = fixture({
    catalog: false,
    fileSystem: { configured: [`${host}/team/app`, 'ghcr.io'] },
  });
  await entry(`${host}/team/app`);
  assert.deepEqual(store.taken(), []);
  assert.deepEqual(await list(host), ['team']);
  assert.ok((await list('/')).includes('ghcr.io'));
});

test('N19 local stores stand at the root under their names, bare tags in them', async () => {
  const local = new CountingStore({ id: 'oci:/layout', transport: 'oci' });
  local.add('', image, 'bare');
  local.add('localhost:5000/app', other, 'v1');
  const { text, list, entry } = createFixture({ locals: new Map([['mine', local]]) });
  assert.ok((await list('/')).includes('mine'));
  assert.deepEqual(await list('mine'), ['@tags', '@digests', '@blobs', 'localhost:5000', 'bare']);
  assert.equal(await text('mine/bare/digest'), `${image.descriptor.digest}\n`);
  assert.equal(await text('mine/localhost:5000/app/v1/digest'), `${other.descriptor.digest}\n`);
  await assert.rejects(entry('mine/nothing'), notFound);
});

test('N20 the listing of a repository has its own directories, nested repositories, then tags', async () => {
  const { list } = fixture();
  assert.deepEqual(await list(`${host}/team/app`), ['@tags', '@digests', '@blobs', 'cache', 'latest', 'v1']);
  assert.deepEqual(await list(`${host}/team/app/@tags`), ['cache', 'latest', 'v1']);
});

test('N21 a registry is listed at the root once something of it was seen', async () => {
  const { list, entry } = fixture();
  await entry('unseen.test');
  assert.ok(!(await list('/')).includes(host));
  await entry(`${host}/team/app/v1`);
  assert.ok((await list('/')).includes(host));
  assert.ok(!(await list('/')).includes('unseen.test'));
});

test('N22 offline, tags that were resolved before are still found and listed', async () => {
  const { entry, list, store, advance, xattr, errorLog } = fixture();
  await entry(`${host}/team/app/v1`);
  advance(3_600_000);
  store.before = () => {
    throw new ImgfsError('unavailable', 'scripted outage');
  };
  await entry(`${host}/team/app/v1`);
  assert.equal(await xattr(`${host}/team/app/v1`, 'user.imgfs.stale'), 'yes');
  assert.deepEqual(await list(`${host}/team/app/@tags`), ['v1']);
  await assert.rejects(entry(`${host}/team/app/latest`), { code: 'unavailable' });
  assert.equal(errorLog.entries().at(-1)?.path, `/${host}/team/app/latest`);
});

test('N23 a tag that the registry says is gone is gone, also for work offline', async () => {
  const { entry, store, advance } = fixture();
  await entry(`${host}/team/app/v1`);
  store.repository('team/app').tags.delete('v1');
  advance(60_001);
  await assert.rejects(entry(`${host}/team/app/v1`), notFound);
  advance(60_001);
  store.before = () => {
    throw new ImgfsError('unavailable', 'scripted outage');
  };
  await assert.rejects(entry(`${host}/team/app/v1`), { code: 'unavailable' });
});

test('N24 a known repository that the registry says is gone is listed no more', async () => {
  const { list, store, entry } = fixture({ catalog: false });
  await entry(`${host}/team/app/v1`);
  assert.deepEqual(await list(`${host}/team`), ['app']);
  store.content.delete('team/app');
  await list(`${host}/team/app/@tags`).catch(() => undefined);
  assert.ok(!(await list(`${host}/team`).catch(() => ['gone'])).includes('app'));
});

test('N25 where there is no catalog, a namespace lists what is known, and a missing repository is ENOENT', async () => {
  const { list, entry } = fixture({ catalog: false });
  assert.deepEqual(await list(`${host}/team`), []);
  await entry(`${host}/team/app`);
  assert.deepEqual(await list(`${host}/team`), ['app']);
  assert.equal(
    (await entry(`${host}/team/missing`)).attributes.type,
    'directory',
    'it may lead to repositories',
  );
  await assert.rejects(list(`${host}/team/missing`), notFound);
});
