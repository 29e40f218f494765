/** A layer store over a scripted one, for layers that bring an index. */
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { DiskCache } from '../../src/content/disk.js';
import type { LayerSource } from '../../src/layer/layer-source.js';
import { LayerStore, type LayerStoreOptions } from '../../src/layer/layer-store.js';
import type { Layer } from '../../src/layer/layer.js';
import { createPrng } from './prng.js';
import { ScriptedStore } from './scripted-store.js';
import { tempDir } from './temp.js';
import type { TocFile } from './toc-layers.js';

export interface ForeignGround {
  readonly directory: string;
  readonly store: ScriptedStore;
  /** A source with these annotations. */
  source(
    blob: Uint8Array,
    annotations?: Readonly<Record<string, string>>,
    more?: Omit<LayerSource, 'store' | 'repository' | 'descriptor'>,
  ): LayerSource;
  open(source: LayerSource, more?: Partial<LayerStoreOptions>): Promise<Layer>;
  /** All layers in one store; `open` makes one each. */
  layers(more?: Partial<LayerStoreOptions>): Promise<LayerStore>;
  close(): Promise<void>;
}

export async function foreignGround(t: TestContext): Promise<ForeignGround> {
  const directory = join(await tempDir(t, 'foreign'), 'cache');
  const store = new ScriptedStore();
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  t.after(close);
  const layers = async (more?: Partial<LayerStoreOptions>): Promise<LayerStore> => {
    const cache = await DiskCache.open({ directory });
    const made = new LayerStore({ cache, foreignFromBytes: 0, ...more });
    closers.push(
      () => cache.close(),
      () => made.close(),
    );
    return made;
  };
  return {
    directory,
    store,
    source: (blob, annotations, more) => {
      const { descriptor, ...place } = store.add(blob);
      return {
        ...place,
        descriptor: { ...descriptor, ...(annotations === undefined ? {} : { annotations }) },
        ...more,
      };
    },
    open: async (source, more) => (await layers(more)).openLayer(source),
    layers,
    close,
  };
}

/** Files of every kind and many sizes. */
export function mixedFiles(seed = 1, scale = 1): TocFile[] {
  const prng = createPrng(seed);
  const random = (length: number): Buffer => Buffer.from(prng.bytes(length));
  return [
    { name: '.prefetch.landmark', content: Buffer.from([0xf]) },
    { name: 'usr/', type: 'dir', mode: 0o755, mtime: 1_600_000_000 },
    { name: 'usr/bin/', type: 'dir', mode: 0o2755, uid: 1000, gid: 50 },
    { name: 'usr/bin/tool', content: random(70_000 * scale), mode: 0o4755, mtime: 1_650_000_001 },
    { name: 'usr/bin/empty', content: Buffer.alloc(0), mtime: 1_650_000_001, fraction: '25' },
    { name: 'usr/bin/link', type: 'symlink', linkName: '../lib/tool', mode: 0o777 },
    { name: 'usr/bin/hard', type: 'hardlink', linkName: 'usr/bin/tool', mode: 0o4755 },
    { name: 'usr/lib/', type: 'dir', mode: 0o755 },
    {
      name: 'usr/lib/large',
      content: Buffer.concat([random(300_000 * scale), Buffer.alloc(200_000), random(100_001)]),
    },
    { name: 'usr/lib/zeros', content: Buffer.alloc(100_000) },
    { name: 'usr/lib/tiny', content: Buffer.from('x'), xattrs: { 'user.note': Buffer.from([0, 255, 10]) } },
    { name: 'usr/lib/capable', content: random(300), xattrs: { 'security.capability': random(20) } },
    { name: 'dev/', type: 'dir', mode: 0o755 },
    { name: 'dev/null', type: 'char', devMajor: 1, devMinor: 3, mode: 0o666 },
    { name: 'dev/disk', type: 'block', devMajor: 8, devMinor: 257, mode: 0o660 },
    { name: 'dev/pipe', type: 'fifo', mode: 0o600 },
    { name: `long/${'n'.repeat(120)}`, content: random(2000) },
    { name: 'ünï/ cödé', content: random(5000) },
    ...Array.from({ length: 40 }, (_, index): TocFile => ({
      name: `many/f${index}`,
      content: random(prng.integer(20_000) * scale),
      mtime: 1_700_000_000 + index,
    })),
    { name: 'usr/bin/tool', content: random(500), mode: 0o755 },
  ];
}

/** Row of a path; the last one when there are several. */
export function rowOf(layer: Layer, path: string): number {
  for (let row = layer.table.count - 1; row >= 0; row -= 1) if (layer.table.path(row) === path) return row;
  throw new Error(`${path} is not in the layer`);
}

/** Content of a row. */
export async function contentOf(layer: Layer, row: number): Promise<Buffer> {
  const into = Buffer.alloc(layer.table.size(row) + 10);
  const got = await layer.readEntry(row, into, 0);
  return into.subarray(0, got);
}
