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
import { oddLayers } from '../support/odd-layers.js';
import { rawTar } from '../support/raw-tar.js';
import { packings } from '../support/sample-layer.js';
import { tempDir } from '../support/temp.js';
import { walkDirectory, type Found } from '../support/walk-directory.js';

const isRoot = process.getuid?.() === 0;
const startedNs = BigInt(Date.now()) * 1_000_000n;
const hasUmoci = spawnSync('umoci', ['--version']).status === 0;
const options = { timeout: 300_000, skip: isRoot && hasUmoci ? false : 'needs root and umoci' };

function unpacked(layout: string, tag: string, bundle: string): Promise<Map<string, Found>> {
  execFileSync('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle], {
    stdio: 'pipe',
    timeout: 200_000,
  });
  return walkDirectory(join(bundle, 'rootfs'));
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
  const wanted = await unpacked(layout, tag, join(folder, 'bundle'));
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
