/** What the bench of image insides stands on: a real image in docker-registry, behind a slow line that counts. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import { mustRun } from '../../support/child.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { startShapingProxy, type ShapingProxy } from '../../support/shaping-proxy.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { letMemoryGo } from '../let-memory-go.js';

/** 20 ms and 200 Mbit/s: the line on which the peers were measured. */
const roundTripMs = 20;
const bytesPerSecond = 25_000_000;

export interface Ground {
  readonly directory: string;
  /** `<layout>` and tag on this disk. */
  readonly layout: string;
  readonly tag: string;
  readonly layers: readonly Descriptor[];
  /** Of all layers as they are stored. */
  readonly imageBytes: number;
  readonly proxy: ShapingProxy;
  /** Of the slow line. */
  readonly host: string;
}

/** Why nothing can be measured, or the image: `IMGFS_BENCH_IMAGE=/layout:tag`, made by scripts of the user. */
export function benchImage(): { layout: string; tag: string } | string {
  const text = process.env['IMGFS_BENCH_IMAGE'];
  if (text === undefined) return 'IMGFS_BENCH_IMAGE=/path/of/oci-layout:tag names no image';
  const colon = text.lastIndexOf(':');
  return { layout: text.slice(0, colon), tag: text.slice(colon + 1) };
}

async function layersOf(layout: string, tag: string): Promise<Descriptor[]> {
  const store = await openLayoutStore(layout);
  try {
    const { descriptor } = await store.resolve({ repository: '', tag });
    const path = join(layout, 'blobs', descriptor.digest.replace(':', '/'));
    return (JSON.parse(await readFile(path, 'utf8')) as { layers: Descriptor[] }).layers;
  } finally {
    await store.close();
  }
}

/** Push the image, start the line, work, take everything down. */
export async function* withGround<Value>(
  work: (ground: Ground) => AsyncIterable<Value>,
): AsyncIterable<Value> {
  const image = benchImage();
  if (typeof image === 'string') throw new Error(image);
  const { layout, tag } = image;
  const directory = await makeTempDir('bench-inside');
  const registry = await startDockerRegistry();
  const proxy = await startShapingProxy({
    port: Number(registry.host.split(':')[1]),
    roundTripMs,
    bytesPerSecond,
  });
  try {
    const flags = ['--insecure-policy', 'copy', '-q', '--dest-tls-verify=false'];
    const target = `docker://${registry.host}/app:${tag}`;
    await mustRun('skopeo', [...flags, `oci:${layout}:${tag}`, target], { timeoutMs: 120_000 });
    const layers = await layersOf(layout, tag);
    const imageBytes = layers.reduce((sum, layer) => sum + layer.size, 0);
    yield* work({ directory, layout, tag, layers, imageBytes, proxy, host: proxy.host });
  } finally {
    await proxy.close();
    await registry.close();
    await removeTempDir(directory);
  }
}

/** Forget what the kernel has of files, where that is allowed: every contender begins cold. */
export async function dropPageCache(): Promise<void> {
  if (process.getuid?.() === 0) await mustRun('sh', ['-c', 'sync; echo 3 >/proc/sys/vm/drop_caches']);
}

/**
 * What runs while a hypervisor takes memory away is slowed down: JavaScript took 14 to 90 ms for what takes 1, in one of
 * three visits that began 1.5 s after the page cache was dropped, and in none of fifteen that began 5 s later.
 */
const reportedAfterMs = 5_000;

/** As `dropPageCache`, for who measures what holds a thread up: waits until a hypervisor had what became free. */
export async function dropPageCacheAndSettle(): Promise<void> {
  await dropPageCache();
  await letMemoryGo(reportedAfterMs);
}
