import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { nameFromText, nameToText } from '../../../src/oci/name.js';
import type { Inode } from '../../../src/vfs/file-system.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { sampleImage } from '../../support/image-builder.js';

const image = await sampleImage({ payloadBytes: 5000 });
const other = await sampleImage({ seed: 2, payloadBytes: 5000 });

function fixture(options: Parameters<typeof createFixture>[0] = {}): Fixture {
  const made = createFixture(options);
  made.store.add('app', image, 'v1', 'same');
  made.store.add('copy', image, 'v1');
  return made;
}

test('T1 content under a digest is one inode whatever the path', async () => {
  const { inode } = fixture();
  const layer = await inode(`${host}/app/v1/layers/0.tar.gz`);
  const hex = image.layers[0]?.descriptor.digest.slice(7);
  assert.equal(await inode(`${host}/app/same/layers/0.tar.gz`), layer);
  assert.equal(await inode(`${host}/copy/v1/layers/0.tar.gz`), layer);
  assert.equal(await inode(`${host}/app/@blobs/sha256/${hex}`), layer);
  assert.equal(await inode(`blobs/sha256/${hex}`), layer);
});

test('T2 directories are different inodes at different paths', async () => {
  const { inode } = fixture();
  const inodes = await Promise.all(
    ['app/v1', 'app/same', 'app/@tags/v1', 'app:v1', 'copy/v1', 'app/v1/layers', 'app/same/layers'].map(
      (path) => inode(`${host}/${path}`),
    ),
  );
  assert.equal(new Set(inodes).size, inodes.length);
});

test('T3 inode numbers stay the same when forgotten, and in another mount', async () => {
  const first = fixture();
  const path = `${host}/app/v1/layers`;
  const before = await first.inode(path);
  first.fileSystem.forget(before, 1);
  assert.equal(await first.inode(path), before);
  assert.equal(await fixture().inode(path), before);
});

test('T4 a forgotten inode is ESTALE, and forgetting what is unknown does nothing', async () => {
  const { fileSystem, caller, inode } = fixture();
  const file = await inode(`${host}/app/v1/digest`);
  await inode(`${host}/app/v1/digest`);
  fileSystem.forget(file, 1);
  await fileSystem.getattr(caller, file);
  fileSystem.forget(file, 1);
  await assert.rejects(fileSystem.getattr(caller, file), { code: 'stale' });
  fileSystem.forget(file, 7);
  fileSystem.forget(12_345 as Inode, 1);
  fileSystem.forget(1 as Inode, 100);
  await fileSystem.getattr(caller, 1 as Inode);
});

test('T5 a tag that moves is a new directory; one already open keeps its digest', async () => {
  const { fileSystem, caller, inode, store, advance, text } = fixture();
  const open = await inode(`${host}/app/v1`);
  store.repository('app').tags.set('v1', other.descriptor);
  store.add('app', other);
  assert.equal(await inode(`${host}/app/v1`), open, 'believed for its time to live');
  advance(60_001);
  assert.notEqual(await inode(`${host}/app/v1`), open);
  assert.equal(await text(`${host}/app/v1/digest`), `${other.descriptor.digest}\n`);
  const kept = await fileSystem.lookup(caller, open, nameFromText('digest'));
  assert.ok(kept.attributes);
  const { handle } = await fileSystem.open(caller, kept.attributes.inode, 0);
  const buffer = Buffer.alloc(100);
  const length = await fileSystem.read(caller, handle, buffer, 0);
  assert.equal(buffer.toString('utf8', 0, length), `${image.descriptor.digest}\n`);
});

test('T6 entries of a tag are expired when it is seen to have moved', async () => {
  const { fileSystem, inode, store, advance } = fixture();
  const expired: string[] = [];
  const repository = await inode(`${host}/app`);
  const tags = await inode(`${host}/app/@tags`);
  fileSystem.attach?.({
    expireEntry: (parent, name) => expired.push(`${parent === repository ? 'app' : '@tags'}/${name}`),
    expireAttributes: () => undefined,
    expireContent: () => undefined,
  });
  await inode(`${host}/app/v1`);
  await inode(`${host}/app/@tags/v1`);
  assert.ok(tags > 0);
  store.add('app', other, 'v1');
  advance(60_001);
  await inode(`${host}/app/@tags/v1`);
  assert.equal(expired.length, 0, 'never from inside an operation');
  await new Promise(setImmediate);
  assert.deepEqual(new Set<string>(expired), new Set(['@tags/v1', 'app/v1']));
});

test('T7 lifetimes: content for hours, tags for their time to live, missing names for seconds', async () => {
  const { entry, fileSystem, caller, inode, advance } = fixture();
  const layer = await entry(`${host}/app/v1/layers/0.tar.gz`);
  assert.ok(layer.attrTtlMs >= 3_600_000 && layer.entryTtlMs >= 3_600_000);
  advance(10_000);
  assert.equal((await entry(`${host}/app/v1`)).entryTtlMs, 50_000);
  const missing = await fileSystem.lookup(caller, await inode(`${host}/app`), nameFromText('v9'));
  assert.deepEqual(missing, { attributes: undefined, entryTtlMs: 5000 });
});

test('T8 readdir with plus counts one lookup for each entry that it gives', async () => {
  const { fileSystem, caller, entries } = fixture();
  const found = await entries(`${host}/app/v1`, true);
  const given = found.filter(({ entry }) => entry !== undefined);
  assert.ok(given.length > 5);
  for (const { inode } of given) {
    await fileSystem.getattr(caller, inode);
    fileSystem.forget(inode, 1);
    await assert.rejects(fileSystem.getattr(caller, inode), { code: 'stale' });
  }
  const plain = await entries(`${host}/app/v1`, false);
  assert.ok(plain.every(({ entry }) => entry === undefined));
  assert.deepEqual(
    plain.map(({ name }) => name),
    found.map(({ name }) => name),
  );
});

test('T9 reads stop at the end, and handles at release', async () => {
  const { fileSystem, caller, inode } = fixture();
  const { handle, keepCache } = await fileSystem.open(
    caller,
    await inode(`${host}/app/v1/layers/1.tar.gz`),
    0,
  );
  assert.equal(keepCache, true);
  const bytes = image.layers[1]?.bytes ?? Buffer.alloc(0);
  const buffer = Buffer.alloc(100);
  assert.equal(await fileSystem.read(caller, handle, buffer, bytes.length - 10), 10);
  assert.deepEqual(buffer.subarray(0, 10), Buffer.from(bytes.subarray(-10)));
  assert.equal(await fileSystem.read(caller, handle, buffer, bytes.length), 0);
  assert.equal(await fileSystem.read(caller, handle, buffer, 1e12), 0);
  await fileSystem.release(handle);
  await assert.rejects(fileSystem.read(caller, handle, buffer, 0), { code: 'bad-handle' });
  await fileSystem.release(handle);
});

test('T10 tags are listed page by page, and from any cookie again', { timeout: 30_000 }, async () => {
  const { fileSystem, caller, inode, store } = fixture();
  // node:test follows every promise: a million names take 1.4 s alone, and 10 s here.
  const total = 50_000;
  store.tags = async function* (_name: string, options: { last?: string }) {
    const start = options.last === undefined ? 0 : Number(options.last.slice(1)) + 1;
    for (let at = start; at < total; at += 1) yield `t${String(at).padStart(7, '0')}`;
  };
  const directory = await inode(`${host}/app/@tags`);
  const { handle } = await fileSystem.opendir(caller, directory);
  let count = 0;
  let offset = 0n;
  for (let end = false; !end;) {
    const page = await fileSystem.readdir(caller, directory, handle, offset, { limit: 2000, plus: false });
    count += page.entries.length;
    offset = page.entries.at(-1)?.next ?? offset;
    end = page.end;
  }
  assert.equal(count, total);
  const again = await fileSystem.readdir(caller, directory, handle, 25_000n, { limit: 2, plus: false });
  assert.deepEqual(
    again.entries.map(({ name }) => nameToText(name)),
    ['t0025000', 't0025001'],
  );
  await fileSystem.releasedir(handle);
});

test('T11 an interrupted operation ends at once, the work goes on for others', async () => {
  let release: () => void = () => undefined;
  const { fileSystem, caller, inode, store } = fixture();
  const app = await inode(`${host}/app`);
  store.before = () => new Promise<void>((resolve) => (release = resolve));
  const controller = new AbortController();
  const interrupted = fileSystem.lookup({ ...caller, signal: controller.signal }, app, nameFromText('v1'));
  const other = fileSystem.lookup({ ...caller, signal: AbortSignal.timeout(5000) }, app, nameFromText('v1'));
  await new Promise(setImmediate);
  controller.abort();
  await assert.rejects(interrupted, { code: 'interrupted' });
  release();
  assert.ok((await other).attributes);
  assert.equal(store.requests.filter((request) => request === 'resolve app:v1').length, 1);
});

test('T12 a deadline that passes is ETIMEDOUT', async () => {
  const { fileSystem, caller, inode, store } = fixture();
  const app = await inode(`${host}/app`);
  store.before = () => new Promise<void>(() => undefined);
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException('too late', 'TimeoutError')), 20);
  const { signal } = controller;
  await assert.rejects(fileSystem.lookup({ ...caller, signal }, app, nameFromText('v1')), {
    code: 'timeout',
  });
  clearTimeout(timer);
});

test('T13 a listing that breaks in the middle fails there and goes on when read again', async () => {
  const { fileSystem, caller, inode, store } = fixture();
  let broken = true;
  store.tags = async function* (_name: string, options: { last?: string }) {
    for (const tag of ['a', 'b', 'c', 'd']) {
      if (options.last !== undefined && tag <= options.last) continue;
      if (tag === 'c' && broken) throw new ImgfsError('unavailable', 'scripted');
      yield tag;
    }
  };
  const directory = await inode(`${host}/app/@tags`);
  const { handle } = await fileSystem.opendir(caller, directory);
  const page = (offset: bigint, limit: number) =>
    fileSystem.readdir(caller, directory, handle, offset, { limit, plus: false });
  assert.equal((await page(0n, 2)).entries.length, 2);
  await assert.rejects(page(2n, 2), { code: 'unavailable' });
  broken = false;
  assert.deepEqual(
    (await page(2n, 10)).entries.map(({ name }) => nameToText(name)),
    ['c', 'd'],
  );
});

test('T14 close lets go of handles', async () => {
  const { fileSystem, caller, inode } = fixture();
  const { handle } = await fileSystem.open(caller, await inode(`${host}/app/v1/digest`), 0);
  await fileSystem.close();
  await assert.rejects(fileSystem.read(caller, handle, Buffer.alloc(1), 0), { code: 'bad-handle' });
});

test('T15 a blob that failed its digest is opened without the pages of before', async () => {
  const { fileSystem, caller, inode, content } = fixture();
  const layer = await inode(`${host}/app/v1/layers/0.tar.gz`);
  assert.equal((await fileSystem.open(caller, layer, 0)).keepCache, true);
  const digest = image.layers[0]?.descriptor.digest;
  assert.ok(digest);
  content.failIntegrity(digest);
  assert.equal((await fileSystem.open(caller, layer, 0)).keepCache, false);
  assert.equal((await fileSystem.open(caller, layer, 0)).keepCache, true);
});
