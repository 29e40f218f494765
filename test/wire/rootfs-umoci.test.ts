/**
 * The merged tree against what umoci unpacks, entry by entry: type, mode, owner, size, times, links, devices, xattrs,
 * content. Needs root (owners, devices) and umoci. `IMGFS_TEST_LAYOUT` names a layout with more images to compare:
 * `<folder>` and a comma-separated list of tags in `IMGFS_TEST_TAGS`.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { DiskCache } from '../../src/content/disk.js';
import type { Layer } from '../../src/layer/layer.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { mergeLayers } from '../../src/layer/merge/merge-layers.js';
import type { MergedTree } from '../../src/layer/merge/merged-tree.js';
import { digestOf } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { gnuLong, paxEntry, rawEntry, rawTar, type RawHeader } from '../support/raw-tar.js';
import { packings } from '../support/sample-layer.js';
import { tempDir } from '../support/temp.js';

const isRoot = process.getuid?.() === 0;
const startedNs = BigInt(Date.now()) * 1_000_000n;
const hasUmoci = spawnSync('umoci', ['--version']).status === 0;
const options = { timeout: 300_000, skip: isRoot && hasUmoci ? false : 'needs root and umoci' };

interface Found {
  readonly path: string;
  readonly kind: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: string;
  readonly nlink: number;
  readonly device: readonly number[];
  readonly link: string;
  readonly xattrs: Readonly<Record<string, string>>;
  readonly sha256: string;
}

/** Node cannot list extended attributes, and reads names as text: Python does both as bytes. */
const walkProgram = `
import hashlib, json, os, stat, sys
root = os.fsencode(sys.argv[1])
kinds = {stat.S_IFREG: 'file', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFCHR: 'char',
         stat.S_IFBLK: 'block', stat.S_IFIFO: 'fifo'}
def emit(path):
    full = os.path.join(root, path) if path else root
    st = os.lstat(full)
    kind = kinds[stat.S_IFMT(st.st_mode)]
    device = [os.major(st.st_rdev), os.minor(st.st_rdev)] if kind in ('char', 'block') else [0, 0]
    print(json.dumps({
        'path': path.decode('latin1'), 'kind': kind, 'mode': st.st_mode & 0o7777, 'uid': st.st_uid, 'gid': st.st_gid,
        'size': st.st_size if kind in ('file', 'symlink') else 0, 'mtimeNs': str(st.st_mtime_ns), 'nlink': st.st_nlink,
        'device': device, 'link': os.readlink(full).decode('latin1') if kind == 'symlink' else '',
        'xattrs': {name: os.getxattr(full, name, follow_symlinks=False).hex()
                   for name in sorted(os.listxattr(full, follow_symlinks=False))},
        'sha256': hashlib.sha256(open(full, 'rb').read()).hexdigest() if kind == 'file' else ''}))
emit(b'')
for folder, folders, files in os.walk(root):
    below = os.path.relpath(folder, root)
    for name in folders + files: emit(name if below == b'.' else os.path.join(below, name))
`;

function unpacked(layout: string, tag: string, bundle: string): Map<string, Found> {
  execFileSync('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle], {
    stdio: 'pipe',
    timeout: 200_000,
  });
  const output = execFileSync('python3', ['-c', walkProgram, join(bundle, 'rootfs')], {
    maxBuffer: 1 << 28,
    timeout: 100_000,
  });
  const lines = output.toString('utf8').trim().split('\n');
  return new Map(lines.map((line) => JSON.parse(line) as Found).map((found) => [found.path, found]));
}

async function merged(tree: MergedTree, layers: readonly Layer[], node: number): Promise<Found> {
  const attributes = tree.attributes(node);
  const { kind, mode, uid, gid, size, nlink } = attributes;
  const entry = tree.entryOf(node);
  const content = Buffer.alloc(kind === 'file' ? size : 0);
  if (entry !== undefined && content.length > 0) await layers[entry.layer]?.readEntry(entry.row, content, 0);
  const xattrs = [...tree.xattrs(node)].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    path: tree.path(node),
    kind,
    mode,
    uid,
    gid,
    size,
    mtimeNs: String(attributes.mtimeNs),
    nlink,
    device: [attributes.devMajor, attributes.devMinor],
    link: tree.linkPath(node),
    xattrs: Object.fromEntries(xattrs.map(([name, value]) => [name, Buffer.from(value).toString('hex')])),
    sha256: kind === 'file' ? createHash('sha256').update(content).digest('hex') : '',
  };
}

async function compare(t: TestContext, layout: string, tag: string): Promise<number> {
  const folder = await tempDir(t, 'umoci');
  const wanted = unpacked(layout, tag, join(folder, 'bundle'));
  const cache = await DiskCache.open({ directory: join(folder, 'cache') });
  const store = await openLayoutStore(layout);
  const layers = new LayerStore({ cache });
  t.after(async () => {
    await layers.close();
    await store.close();
    await cache.close();
  });
  const { descriptor } = await store.resolve({ repository: '', tag });
  const bytes = await cache.readAll({ store, repository: '', descriptor }, { maxBytes: 1 << 20 });
  const manifest = JSON.parse(Buffer.from(bytes).toString()) as { layers: Layer['descriptor'][] };
  const open = await Promise.all(
    manifest.layers.map((layer) => layers.openLayer({ store, repository: '', descriptor: layer })),
  );
  const tree = await mergeLayers(open);
  const pending = [tree.root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    pending.push(...tree.children(node));
    const got = await merged(tree, open, node);
    const want = wanted.get(got.path);
    // A directory that no layer describes, and the one it was made in, have the time of the unpacking.
    const isTimeless = got.kind === 'directory' && BigInt(want?.mtimeNs ?? 0) >= startedNs;
    assert.deepEqual(isTimeless ? { ...got, mtimeNs: want?.mtimeNs } : got, want);
    wanted.delete(got.path);
  }
  assert.deepEqual([...wanted.keys()], []);
  return tree.nodeCount;
}

const dir = (name: string, header: RawHeader = {}): Uint8Array =>
  rawEntry({ mode: 0o755, ...header, name, type: '5' });
const file = (name: string, content: string, header: RawHeader = {}): Uint8Array =>
  rawEntry({ ...header, name }, content);
const link = (name: string, linkName: string): Uint8Array => rawEntry({ name, type: '2', linkName });
const hard = (name: string, linkName: string): Uint8Array => rawEntry({ name, type: '1', linkName });

/** Everything odd that umoci unpacks. */
const oddLayers: readonly (readonly Uint8Array[])[] = [
  [
    dir('./', { mtime: 5 }),
    dir('usr/', { mode: 0o1777, uid: 7, gid: 8, mtime: 100 }),
    dir('usr/lib/'),
    link('lib', 'usr/lib'),
    link('absolute', '/usr/lib'),
    file('usr/lib/a', 'a'.repeat(1000), { mode: 0o4755, uid: 1000, gid: 100, mtime: 1234 }),
    file('gone', 'x'),
    dir('opaque/'),
    file('opaque/below', 'x'),
    dir('opaque/deep/'),
    file('opaque/deep/f', 'x'),
    file('linked', 'shared'),
    hard('usr/other', 'linked'),
    dir('was-dir/'),
    file('was-dir/f', 'x'),
    file('was-file', 'x'),
    file('na\xff\xfeme', 'bytes'),
    rawEntry({ name: 'fifo', type: '6', mode: 0o600 }),
    rawEntry({ name: 'null', type: '3', mode: 0o666, devMajor: 1, devMinor: 3 }),
    rawEntry({ name: 'disk', type: '4', mode: 0o660, devMajor: 8, devMinor: 17 }),
    paxEntry([
      ['mtime', '1500000000.123456789'],
      ['SCHILY.xattr.user.note', 'hello'],
      ['SCHILY.xattr.security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex')],
    ]),
    file('capable', 'x', { mode: 0o755 }),
    gnuLong('L', `${'long/'.repeat(30)}name`),
    file('short', 'long name'),
    paxEntry([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'sparse'],
      ['GNU.sparse.realsize', '100000'],
    ]),
    file('GNUSparseFile.0/sparse', '2\n4096\n512\n99488\n512\n'.padEnd(512, '\0') + 's'.repeat(1024)),
  ],
  [
    file('lib/through-link', 'x'),
    file('absolute/too', 'x'),
    file('.wh.gone', ''),
    file('opaque/new', 'x'),
    file('opaque/.wh..wh..opq', ''),
    file('.wh.linked', ''),
    file('was-dir', 'now a file'),
    dir('was-file/', { mode: 0o700 }),
    file('was-file/f', 'x'),
    hard('late-link', 'usr/other'),
    file('twice', 'first'),
    file('twice', 'second'),
    file('usr/.wh.twice', ''),
  ],
];

test('odd entries are what umoci makes of them', options, async (t) => {
  const layout = join(await tempDir(t, 'odd'), 'layout');
  const put = (bytes: Uint8Array, mediaType: string): Record<string, unknown> => {
    const digest = digestOf(bytes);
    writeFileSync(join(layout, 'blobs/sha256', digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const tars = oddLayers.map((parts) => rawTar(...parts));
  const rootfs = { type: 'layers', diff_ids: tars.map((tar) => digestOf(tar)) };
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs, history: [] }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: put(config, mediaTypes.ociConfig),
      layers: tars.map((tar) => put(packings.gzip(tar), mediaTypes.ociLayerGzip)),
    }),
  );
  const entry = {
    ...put(manifest, mediaTypes.ociManifest),
    annotations: { 'org.opencontainers.image.ref.name': 'odd' },
  };
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  assert.ok((await compare(t, layout, 'odd')) > 50);
});

const moreLayout = process.env['IMGFS_TEST_LAYOUT'];
for (const tag of (process.env['IMGFS_TEST_TAGS'] ?? '').split(',').filter(() => moreLayout !== undefined)) {
  test(`image ${tag} is what umoci makes of it`, options, async (t) => {
    assert.ok((await compare(t, moreLayout ?? '', tag)) > 0);
  });
}
