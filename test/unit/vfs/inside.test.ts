import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { digestOf } from '../../../src/oci/digest.js';
import type { Presentation } from '../../../src/vfs/inside/presentation.js';
import { targetInside } from '../../../src/vfs/inside/presentation.js';
import { ImageInside } from '../../../src/vfs/inside/image-inside.js';
import { nameFromText, nameToText, type Name } from '../../../src/vfs/name.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { buildArtifact, buildImage, type BuiltImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const image = await buildImage({
  layers: [
    {
      entries: [
        { name: 'bin/', mode: 0o755, mtime: 1_600_000_000 },
        { name: 'bin/tool', content: '#!tool\n', mode: 0o4755, uid: 12, gid: 34 },
        { name: 'bin/same', type: 'link', linkname: 'bin/tool' },
        { name: 'bin/sh', linkname: '/bin/tool' },
        { name: 'etc/' },
        { name: 'etc/gone', content: 'gone\n' },
        { name: 'etc/kept', content: 'kept\n', pax: { mtime: '1600000000.123456789' } },
        { name: 'old/' },
        { name: 'old/hidden', content: 'hidden\n' },
        { name: 'turned/' },
        { name: 'turned/inner', content: 'x' },
      ],
    },
    {
      compression: 'none',
      entries: [
        { name: 'etc/' },
        { name: 'etc/.wh.gone' },
        { name: 'old/' },
        { name: 'old/.wh..wh..opq' },
        { name: 'old/new', content: 'new\n' },
        { name: 'turned', content: 'a file now\n' },
        { name: 'dev/' },
        { name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
        { name: 'dev/pipe', type: 'fifo' },
        {
          name: 'attributed',
          content: 'x',
          pax: {
            'SCHILY.xattr.user.color': 'blue',
            'SCHILY.xattr.security.capability': 'caps',
            'SCHILY.xattr.trusted.overlay.opaque': 'y',
            'SCHILY.xattr.user.imgfs.verified': 'a lie',
          },
        },
      ],
    },
  ],
});
const layers = image.layers.map(({ descriptor }) => descriptor);
const isLayerFetch = (request: string): boolean => layers.some(({ digest }) => request.endsWith(digest));

const folders: string[] = [];
const opened: Fixture[] = [];
after(async () => {
  for (const one of opened) await one.fileSystem.close();
  for (const folder of folders) await removeTempDir(folder);
});

interface InsideOptions {
  readonly presentation?: Partial<Presentation>;
  readonly folder?: string;
  readonly images?: Readonly<Record<string, BuiltImage>>;
}

async function fixture(options: InsideOptions = {}): Promise<Fixture> {
  const folder = options.folder ?? (await makeTempDir('inside'));
  if (options.folder === undefined) folders.push(folder);
  const content = createMemoryContent(folder);
  const { presentation } = options;
  const inside = new ImageInside({
    content,
    layers: new LayerStore({ cache: content }),
    ...(presentation === undefined ? {} : { presentation }),
  });
  const made = createFixture({ content, fileSystem: { extensions: [inside] } });
  for (const [tag, one] of Object.entries(options.images ?? { v1: image })) made.store.add('app', one, tag);
  opened.push(made);
  return made;
}

const at = (path: string): string => `${host}/app/v1/${path}`;
const sorted = (names: readonly string[]): string[] => [...names].sort();

test('R1 rootfs/ is what a container sees: whiteouts, opaque directories, changed types, hard links', async () => {
  const { list, text, stat, entry } = await fixture();
  assert.deepEqual(sorted(await list(at('rootfs'))), ['attributed', 'bin', 'dev', 'etc', 'old', 'turned']);
  assert.deepEqual(await list(at('rootfs/etc')), ['kept']);
  assert.deepEqual(await list(at('rootfs/old')), ['new']);
  assert.equal(await text(at('rootfs/turned')), 'a file now\n');
  assert.equal(await text(at('rootfs/bin/same')), '#!tool\n');
  assert.equal((await stat(at('rootfs/bin/tool'))).nlink, 2);
  assert.equal((await stat(at('rootfs/bin/same'))).inode, (await stat(at('rootfs/bin/tool'))).inode);
  await assert.rejects(entry(at('rootfs/etc/gone')), { code: 'not-found' });
});

test('R2 layers/N/ is one layer alone, with its whiteouts as files', async () => {
  const { list, read } = await fixture();
  assert.deepEqual(sorted(await list(at('layers/1/etc'))), ['.wh.gone']);
  assert.deepEqual(sorted(await list(at('layers/1/old'))), ['.wh..wh..opq', 'new']);
  assert.deepEqual(sorted(await list(at('layers/0/etc'))), ['gone', 'kept']);
  assert.equal((await read(at('layers/1/etc/.wh.gone'))).length, 0);
});

test('R3 layers/N.tar is the decoded layer; its digest is the diffID, and it is listed once its size is known', async () => {
  const { list, read, stat } = await fixture();
  assert.deepEqual(sorted(await list(at('layers'))), ['0', '0.tar.gz', '1', '1.tar']);
  const bytes = await read(at('layers/0.tar'));
  assert.equal(digestOf(bytes), image.layers[0]?.diffId);
  assert.equal((await stat(at('layers/0.tar'))).size, bytes.length);
  assert.deepEqual(sorted(await list(at('layers'))), ['0', '0.tar', '0.tar.gz', '1', '1.tar']);
});

test('R4 listing an image directory and layers/ with attributes fetches no layer', async () => {
  const { entries, stat, store } = await fixture();
  await entries(at(''), true);
  await entries(at('layers'), true);
  const before = await stat(at('rootfs'));
  assert.equal(before.type, 'directory');
  await stat(at('layers/0'));
  assert.deepEqual(store.taken().filter(isLayerFetch), []);
  await entries(at('rootfs'), true);
  const after = await stat(at('rootfs'));
  assert.notEqual(after.mtimeNs, before.mtimeNs);
  assert.equal(after.ctimeNs, before.ctimeNs, 'tar must not take it for changed');
});

test('R5 entries have mode, owner, time and device numbers of the layer', async () => {
  const { stat } = await fixture();
  const tool = await stat(at('rootfs/bin/tool'));
  assert.deepEqual([tool.mode, tool.uid, tool.gid, tool.size], [0o4755, 12, 34, 7]);
  assert.equal((await stat(at('rootfs/etc/kept'))).mtimeNs, 1_600_000_000_123_456_789n);
  assert.equal((await stat(at('rootfs/bin'))).mtimeNs, 1_600_000_000_000_000_000n);
  const device = await stat(at('rootfs/dev/null'));
  assert.deepEqual([device.type, device.rdev, device.mode], ['char', 0x103, 0o666]);
  assert.equal((await stat(at('rootfs/dev/pipe'))).type, 'fifo');
  const mine = await fixture({ presentation: { owner: 'mounter' } });
  assert.equal((await mine.stat(at('rootfs/bin/tool'))).uid, 1000, '--owner=mounter');
});

test('R6 an entry of a layer is one inode wherever it shows up', async () => {
  const other = await buildImage({
    layers: [{ entries: [{ name: 'first', content: 'another image\n' }] }],
  });
  const sharing = { ...other, ...image };
  const { stat } = await fixture({ images: { v1: image, v2: sharing, v3: other } });
  const inode = async (path: string) => (await stat(`${host}/app/${path}`)).inode;
  assert.equal(await inode('v1/rootfs/etc/kept'), await inode('v1/layers/0/etc/kept'));
  assert.equal(await inode('v1/rootfs/etc/kept'), await inode('v2/rootfs/etc/kept'));
  assert.notEqual(await inode('v1/rootfs/etc'), await inode('v1/layers/0/etc'));
});

test('R7 symbolic links are byte-exact, and with --symlinks=inside never lead out of the rootfs', async () => {
  const target = async ({ fileSystem, caller, inode }: Fixture): Promise<string> =>
    nameToText(await fileSystem.readlink(caller, await inode(at('rootfs/bin/sh'))));
  assert.equal(await target(await fixture()), '/bin/tool');
  const inside = await fixture({ presentation: { symlinks: 'inside' } });
  assert.equal(await target(inside), '../bin/tool');
  assert.equal((await inside.stat(at('rootfs/bin/sh'))).size, '../bin/tool'.length);
  const cases: [string, number, string][] = [
    ['/', 0, '.'],
    ['/', 2, '../..'],
    ['/etc/x', 0, 'etc/x'],
    ['/../../etc', 1, '../etc'],
    ['../../../etc', 1, '../etc'],
    ['../../..', 1, '..'],
    ['../lib//x', 1, '../lib//x'],
    ['a/../../b', 0, 'a/../../b'],
    ['', 3, ''],
  ];
  for (const [from, depth, to] of cases)
    assert.equal(targetInside(from as Name, depth), to, `${from} ${depth}`);
});

test('R8 extended attributes are exact; security.* and trusted.* are hidden unless asked for, and none speaks for imgfs', async () => {
  const { xattr, xattrs } = await fixture();
  const path = at('rootfs/attributed');
  assert.equal(await xattr(path, 'user.color'), 'blue');
  assert.equal(await xattr(path, 'security.capability'), undefined);
  assert.equal(await xattr(path, 'user.imgfs.verified'), 'yes');
  assert.equal(await xattr(path, 'user.oci.layer'), layers[1]?.digest);
  assert.equal(await xattr(path, 'user.imgfs.layer'), '1');
  assert.ok(!(await xattrs(path)).some((name) => /^(security|trusted)/.test(name)));
  const all = await fixture({ presentation: { allXattrs: true } });
  assert.equal(await all.xattr(path, 'security.capability'), 'caps');
  assert.equal(await all.xattr(path, 'trusted.overlay.opaque'), 'y');
  for (const special of ['rootfs/bin/sh', 'rootfs/dev/null', 'rootfs/dev/pipe'])
    assert.deepEqual(await all.xattrs(at(special)), [], special);
});

test('R9 a layer that cannot be read is an error of what needs it, with the cause; the rest stays readable', async () => {
  const { store, list, text, xattr } = await fixture();
  const [bad] = image.layers;
  assert.ok(bad !== undefined);
  const bytes = Uint8Array.from(bad.bytes);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  store.repository('app').blobs.set(bad.descriptor.digest, { descriptor: bad.descriptor, bytes });
  await assert.rejects(list(at('rootfs')), (error: { code: string }) =>
    ['integrity', 'invalid-content'].includes(error.code),
  );
  await assert.rejects(list(at('layers/0')));
  assert.match((await xattr(at('layers/0'), 'user.imgfs.error')) ?? '', new RegExp(bad.descriptor.digest));
  assert.equal(await text(at('layers/1/turned')), 'a file now\n');
});

test('R10 encrypted layers and layers of unknown kind are named as such before anything is fetched', async () => {
  const encrypted = await buildImage({
    layers: [
      {
        entries: [{ name: 'x' }],
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
      },
    ],
  });
  const { list, store } = await fixture({ images: { v1: encrypted } });
  const refused = { code: 'unsupported', message: /is encrypted/ };
  await assert.rejects(list(at('rootfs')), refused);
  await assert.rejects(list(at('layers/0')), refused);
  assert.deepEqual(sorted(await list(at('layers'))), ['0.enc']);
  const digest = encrypted.layers[0]?.descriptor.digest ?? '';
  assert.ok(!store.taken().some((request) => request.endsWith(digest)));
});

test('R11 what was indexed and read is listed and read again with no network', async () => {
  const folder = await makeTempDir('inside');
  folders.push(folder);
  const first = await fixture({ folder });
  assert.equal(await first.text(at('rootfs/etc/kept')), 'kept\n');
  await first.fileSystem.close();
  const second = await fixture({ folder });
  const { store } = second;
  await second.entry(at('manifest.json'));
  await second.read(at('manifest.json'));
  store.before = (request) => {
    if (isLayerFetch(request)) throw new Error('the network is gone');
  };
  assert.deepEqual(await second.list(at('rootfs/etc')), ['kept']);
  assert.equal(await second.text(at('rootfs/etc/kept')), 'kept\n');
});

test('R12 listings are complete and come with attributes, whatever their length', async () => {
  const count = 500;
  const many = await buildImage({
    layers: [{ entries: Array.from({ length: count }, (_, index) => ({ name: `d/f${index}` })) }],
  });
  const { fileSystem, caller, entries, inode } = await fixture({ images: { v1: many } });
  const directory = await inode(at('rootfs/d'));
  const { handle, keepCache, complete } = await fileSystem.opendir(caller, directory);
  assert.deepEqual([keepCache, complete], [true, true]);
  await fileSystem.releasedir(handle);
  const all = await entries(at('rootfs/d'), true);
  assert.equal(new Set(all.map(({ name }) => name)).size, count);
  assert.ok(all.every(({ entry }) => entry?.attributes.type === 'file'));
});

test('R13 an artifact has no rootfs/, and what is no layer has no tree', async () => {
  const artifact = buildArtifact({
    artifactType: 'application/vnd.test',
    files: [{ title: 'a', content: 'a', mediaType: 'text/plain' }],
  });
  const { list, entry } = await fixture({ images: { v1: artifact } });
  assert.ok(!(await list(at(''))).includes('rootfs'));
  await assert.rejects(entry(at('rootfs')), { code: 'not-found' });
  await assert.rejects(entry(at('layers/0')), { code: 'not-found' });
  await assert.rejects(entry(at('layers/7')), { code: 'not-found' });
});

test('R14 one pass over a layer serves all who ask at once, and who gives up stops nobody else', async () => {
  const fetched = async (askers: number): Promise<number> => {
    const { store, entry, fileSystem, caller, inode } = await fixture();
    await entry(at('manifest.json'));
    const root = await inode(at('rootfs'));
    store.taken();
    const gone = new AbortController();
    const impatient = fileSystem.lookup({ ...caller, signal: gone.signal }, root, nameFromText('bin'));
    const names = Array.from({ length: askers }, () => nameFromText('etc'));
    const others = names.map((name) => fileSystem.lookup(caller, root, name));
    gone.abort();
    await assert.rejects(impatient, { code: 'interrupted' });
    for (const found of await Promise.all(others)) assert.equal(found.attributes?.type, 'directory');
    return store.taken().filter(isLayerFetch).length;
  };
  assert.equal(await fetched(5), await fetched(1));
});

/** Three layers; the lowest is what waits or fails. */
const stacked = await buildImage({
  layers: [
    {
      entries: [
        { name: 'usr/' },
        { name: 'usr/lower', content: 'lower\n' },
        { name: 'usr/hidden', content: 'hidden\n' },
        { name: 'usr/shadowed', content: 'old\n' },
        { name: 'own/' },
        { name: 'own/lower', content: 'x' },
      ],
    },
    { entries: [{ name: 'middle', content: 'middle\n' }] },
    {
      entries: [
        { name: 'usr/' },
        { name: 'usr/.wh.hidden' },
        { name: 'usr/shadowed', content: 'new\n' },
        { name: 'own/' },
        { name: 'own/.wh..wh..opq' },
        { name: 'own/upper', content: 'upper\n' },
      ],
    },
  ],
});
const lowest = stacked.layers[0]?.descriptor.digest ?? '';

test('layers that nobody has seen are asked for together, those at the top first', async () => {
  const layers = Array.from({ length: 8 }, (_, index) => ({ entries: [{ name: `in-${index}` }] }));
  const tall = await buildImage({ layers });
  const { store, list } = await fixture({ images: { v1: tall } });
  const digests = tall.layers.map(({ descriptor }) => descriptor.digest);
  const asked = new Set<number>();
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  store.before = (request) => {
    const layer = digests.findIndex((digest) => request.endsWith(digest));
    if (layer < 0) return undefined;
    if (asked.size < 6) asked.add(layer);
    // None is answered before six were asked for, as many as are gone through at once.
    if (asked.size === 6) release();
    return gate;
  };
  assert.equal((await list(at('rootfs'))).length, 8);
  assert.deepEqual(
    [...asked].toSorted((a, b) => a - b),
    [2, 3, 4, 5, 6, 7],
  );
});

test('R15 while lower layers are on their way, rootfs/ answers what they cannot change; the rest waits', async () => {
  const made = await fixture({ images: { v1: stacked } });
  const { store, text, list, stat, entry } = made;
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  store.before = (request) => (request.endsWith(lowest) ? gate : undefined);
  assert.equal(await text(at('rootfs/usr/shadowed')), 'new\n');
  assert.equal(await text(at('rootfs/middle')), 'middle\n');
  await assert.rejects(entry(at('rootfs/usr/hidden')), { code: 'not-found' });
  assert.deepEqual(await list(at('rootfs/own')), ['upper'], 'an opaque directory is complete');
  await assert.rejects(entry(at('rootfs/own/lower')), { code: 'not-found' });
  assert.equal((await stat(at('rootfs/usr'))).nlink, 1, 'not known yet');
  const waiting = [text(at('rootfs/usr/lower')), list(at('rootfs/usr'))];
  const early = await Promise.race([...waiting, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))]);
  assert.equal(early, 'waits');
  const shadowed = (await stat(at('rootfs/usr/shadowed'))).inode;
  release();
  const [lower, names] = await Promise.all(waiting);
  assert.equal(lower, 'lower\n');
  assert.deepEqual(sorted(names as string[]), ['lower', 'shadowed']);
  assert.equal((await stat(at('rootfs/usr'))).nlink, 2);
  assert.equal((await stat(at('rootfs/usr/shadowed'))).inode, shadowed);
  await assert.rejects(entry(at('rootfs/usr/hidden')), { code: 'not-found' });
});

test('R15 nothing is settled where a path may lead through a link of a lower layer', async () => {
  const usrmerge = await buildImage({
    layers: [
      { entries: [{ name: 'usr/' }, { name: 'usr/lib/' }, { name: 'lib', linkname: 'usr/lib' }] },
      { entries: [{ name: 'usr/' }, { name: 'usr/lib/' }, { name: 'usr/lib/x', content: 'middle\n' }] },
      { entries: [{ name: 'lib/x', content: 'top\n' }] },
    ],
  });
  const { store, text } = await fixture({ images: { v1: usrmerge } });
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const digest = usrmerge.layers[0]?.descriptor.digest ?? '';
  store.before = (request) => (request.endsWith(digest) ? gate : undefined);
  const reading = text(at('rootfs/usr/lib/x'));
  const early = await Promise.race([reading, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))]);
  assert.equal(early, 'waits');
  release();
  assert.equal(await reading, 'top\n');
});

test('R16 below a layer that cannot be read nothing is believed: what layers above it settle is shown, all else is EIO', async () => {
  const { store, text, list, entry, xattr } = await fixture({ images: { v1: stacked } });
  const middle = stacked.layers[1];
  assert.ok(middle !== undefined);
  const bytes = Uint8Array.from(middle.bytes);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  store.repository('app').blobs.set(middle.descriptor.digest, { descriptor: middle.descriptor, bytes });
  const isRefused = ({ code }: { code: string }): boolean => ['integrity', 'invalid-content'].includes(code);
  await assert.rejects(text(at('rootfs/usr/lower')), isRefused);
  assert.match(
    (await xattr(at('rootfs/usr'), 'user.imgfs.error')) ?? '',
    new RegExp(middle.descriptor.digest),
  );
  await assert.rejects(text(at('rootfs/middle')), isRefused);
  await assert.rejects(list(at('rootfs')), isRefused);
  assert.equal(await text(at('rootfs/usr/shadowed')), 'new\n');
  assert.deepEqual(await list(at('rootfs/own')), ['upper']);
  await assert.rejects(entry(at('rootfs/usr/hidden')), { code: 'not-found' });
  assert.equal(await text(at('layers/0/usr/lower')), 'lower\n');
});
