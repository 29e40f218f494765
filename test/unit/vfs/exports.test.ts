/** `export/`: archives made while they are read. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { openArchiveStore } from '../../../src/store/archive/archive-store.js';
import { ImageExports } from '../../../src/vfs/export/image-exports.js';
import { ImageInside } from '../../../src/vfs/inside/image-inside.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { buildArtifact, buildImage, buildIndex, sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { createPrng } from '../../support/prng.js';
import { makeTempDir, removeTempDir, tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const long = 'a-long-name/'.repeat(12);
const odd = await buildImage({
  layers: [
    {
      entries: [
        { name: 'bin/', mode: 0o755, mtime: 1_600_000_000 },
        { name: 'bin/tool', content: '#!tool\n', mode: 0o4755, uid: 12, gid: 34 },
        { name: 'bin/same', type: 'link', linkname: 'bin/tool' },
        { name: 'bin/sh', linkname: '/bin/tool' },
        { name: 'gone', content: 'gone\n' },
        { name: `${long}file`, content: 'deep\n' },
        { name: 'rich', content: 'x'.repeat(5000), pax: { mtime: '1600000000.123456789', uid: '3000000' } },
        { name: 'empty', content: '' },
      ],
    },
    {
      compression: 'none',
      entries: [
        { name: '.wh.gone' },
        { name: 'dev/' },
        { name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
        { name: 'attributed', content: 'x', pax: { 'SCHILY.xattr.user.color': 'blue' } },
        { name: 'payload', content: createPrng(7).bytes(300_000) },
      ],
    },
  ],
});
const other = await sampleImage({ seed: 4, platform: { os: 'linux', architecture: 'arm64' } });
const index = await buildIndex([odd, other]);
const artifact = buildArtifact({ artifactType: 'x/y', files: [{ title: 'f', content: 'content' }] });

const folders: string[] = [];
const opened: Fixture[] = [];
after(async () => {
  for (const one of opened) await one.fileSystem.close();
  for (const folder of folders) await removeTempDir(folder);
});

async function fixture(): Promise<Fixture> {
  const folder = await makeTempDir('exports');
  folders.push(folder);
  const content = createMemoryContent(folder);
  const inside = new ImageInside({ content, layers: new LayerStore({ cache: content }) });
  const exports = new ImageExports({ content, inside });
  const made = createFixture({ content, fileSystem: { extensions: [inside, exports] } });
  made.store.add('app', index, 'v1');
  made.store.add('app', artifact, 'artifact');
  opened.push(made);
  return made;
}

const at = (name: string, tag = 'v1'): string => `${host}/app/${tag}/export/${name}`;
const isBlob = (request: string): boolean =>
  [...odd.layers, ...other.layers].some(({ descriptor }) => request.endsWith(descriptor.digest));

async function saved(t: TestContext, { read }: Fixture, path: string): Promise<string> {
  const directory = await tempDir(t, 'exported');
  const file = join(directory, 'archive.tar');
  writeFileSync(file, await read(path));
  return file;
}

test('E1 export/ has archives of what the image is, and of artifacts only the OCI one', limits, async () => {
  const { list, entry } = await fixture();
  assert.deepEqual(await list(`${host}/app/v1/export`), ['oci.tar', 'docker.tar', 'rootfs.tar']);
  assert.deepEqual(await list(`${host}/app/artifact/export`), ['oci.tar']);
  await assert.rejects(entry(at('docker.tar', 'artifact')), { code: 'not-found' });
  await assert.rejects(entry(at('other.tar')), { code: 'not-found' });
});

test(
  'E2 sizes of oci.tar and docker.tar are known without a blob, and are those of the bytes',
  limits,
  async () => {
    const { stat, read, store } = await fixture();
    for (const name of ['oci.tar', 'docker.tar']) {
      store.taken();
      const { size } = await stat(at(name));
      assert.deepEqual(store.taken().filter(isBlob), []);
      assert.equal((await read(at(name))).length, size);
    }
  },
);

test(
  'E3 oci.tar has all platforms, docker.tar the chosen one, each under its name or another',
  limits,
  async (t) => {
    const made = await fixture();
    const oci = await openArchiveStore('oci-archive', await saved(t, made, at('oci.tar')));
    const [image] = await oci.images();
    assert.equal(image?.descriptor.digest, index.descriptor.digest);
    assert.deepEqual(image.names, [{ repository: `${host}/app`, tag: 'v1' }]);
    for (const { descriptor } of [...odd.blobs, ...other.blobs]) await oci.statBlob('', descriptor.digest);
    await oci.close();
    const renamed = await saved(t, made, at(`docker@${encodeURIComponent('registry.test/me/x:v9')}.tar`));
    const docker = await openArchiveStore('docker-archive', renamed);
    const { descriptor } = await docker.resolve({ repository: 'registry.test/me/x', tag: 'v9' });
    assert.equal(descriptor.digest, odd.descriptor.digest);
    await docker.close();
  },
);

test('E6 platforms of an index that the store does not have are left out', limits, async (t) => {
  const made = await fixture();
  const [, missing] = index.manifests;
  assert.ok(missing);
  made.store.repository('app').blobs.delete(missing.descriptor.digest);
  const oci = await openArchiveStore('oci-archive', await saved(t, made, at('oci.tar')));
  const [image] = await oci.images();
  assert.equal(image?.descriptor.digest, index.descriptor.digest);
  await oci.resolve({ repository: '', digest: odd.descriptor.digest });
  await assert.rejects(oci.resolve({ repository: '', digest: missing.descriptor.digest }), {
    code: 'not-found',
  });
  await oci.close();
});

test('E4 rootfs.tar is the merged tree, as GNU tar unpacks it', limits, async (t) => {
  const made = await fixture();
  const path = await saved(t, made, at('rootfs.tar'));
  assert.equal(statSync(path).size, (await made.stat(at('rootfs.tar'))).size);
  const listing = execFileSync('tar', ['--numeric-owner', '--full-time', '-tvf', path], { encoding: 'utf8' });
  assert.match(listing, /^-rwsr-xr-x 12\/34 +7 .* bin\/tool$/m);
  assert.match(listing, /^hrwsr-xr-x 12\/34 +0 .* bin\/same link to bin\/tool$/m);
  assert.match(listing, /^crw-rw-rw- 0\/0 +1,3 .* dev\/null$/m);
  assert.match(listing, /3000000\/0 +5000 2020-09-13 12:26:40.123456789 rich$/m);
  assert.doesNotMatch(listing, /gone/);
  const target = join(path, '..', 'out');
  mkdirSync(target);
  execFileSync('tar', ['-xf', path, '-C', target, '--exclude=dev/null', '--no-same-owner']);
  assert.equal(readFileSync(join(target, long, 'file'), 'utf8'), 'deep\n');
  assert.equal(readlinkSync(join(target, 'bin/sh')), '/bin/tool');
  assert.deepEqual(readFileSync(join(target, 'payload')), Buffer.from(createPrng(7).bytes(300_000)));
  assert.equal(readFileSync(join(target, 'empty')).length, 0);
  assert.ok(!readdirSync(target).includes('gone'));
  assert.match(readFileSync(path, 'latin1'), /SCHILY\.xattr\.user\.color=blue\n/);
});

test('E5 any part of an archive reads the same as the whole', limits, async () => {
  const { read, entry, fileSystem } = await fixture();
  for (const name of ['oci.tar', 'docker.tar', 'rootfs.tar']) {
    const whole = await read(at(name));
    const { inode } = (await entry(at(name))).attributes;
    const caller = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };
    const { handle } = await fileSystem.open(caller, inode, 0);
    const prng = createPrng(11);
    for (let round = 0; round < 60; round += 1) {
      const position = prng.integer(whole.length);
      const buffer = Buffer.alloc(prng.pick([1, 511, 512, 4096, 70_000]), 0xee);
      const length = await fileSystem.read(caller, handle, buffer, position);
      const expected = whole.subarray(position, position + buffer.length);
      assert.deepEqual(buffer.subarray(0, length), Buffer.from(expected), `${name} at ${position}`);
    }
    await fileSystem.release(handle);
  }
});

test('rootfs.tar is told where its files lie, once they are decoded', limits, async () => {
  const made = await fixture();
  const whole = await made.read(at('rootfs.tar'));
  const { attributes } = await made.entry(at('rootfs.tar'));
  const opened = await made.fileSystem.open(made.caller, attributes.inode, 0);
  assert.ok(opened.segments);
  let [position, onDisk] = [0, 0];
  while (position < whole.length) {
    const range = { start: position, end: Math.min(position + 100_000, whole.length) };
    let told = false;
    await opened.segments.cover(range, made.caller.signal, (segments) => {
      told = true;
      for (const segment of segments) {
        const { start, end } = segment;
        assert.ok(start <= position && end > start, `${start} to ${end} at ${position}`);
        let bytes = Buffer.alloc(end - start);
        if ('bytes' in segment) bytes = Buffer.from(segment.bytes);
        else onDisk += readSync(segment.fd, bytes, 0, bytes.length, segment.offset);
        assert.ok(bytes.equals(whole.subarray(start, end)), `${start} to ${end}`);
        position = Math.max(position, end);
      }
    });
    assert.ok(told, `at ${range.start}`);
  }
  assert.ok(onDisk >= 300_000, `${onDisk} bytes on disk`);
  await made.fileSystem.release(opened.handle);
});
