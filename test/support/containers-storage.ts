/** A containers-storage as podman leaves it, for tests to read: one image after another is added. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestHex, digestOf } from '../../src/oci/digest.js';
import { scanTar } from '../../src/store/archive/scan-tar.js';
import { bigDataFile } from '../../src/store/containers-storage/documents.js';
import type { BuiltLayer, BuiltSingleImage } from './image-builder.js';

async function change(path: string, update: (list: object[]) => object[]): Promise<void> {
  const before = JSON.parse(await readFile(path, 'utf8').catch(() => '[]')) as object[];
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(update(before)));
}

/** Files of a layer below `files`, and what tar-split says about the rest. */
async function unpack(tar: Uint8Array, files: string): Promise<Buffer> {
  const bytes = Buffer.from(tar);
  const members = await scanTar(
    async (buffer, position) => bytes.copy(buffer, 0, position, position + buffer.length),
    { path: 'layer', size: bytes.length },
  );
  const lines: object[] = [];
  let at = 0;
  const raw = (end: number): void => {
    if (end > at) lines.push({ type: 2, payload: bytes.toString('base64', at, end), position: lines.length });
    at = end;
  };
  for (const { name, type, offset, size } of members) {
    raw(offset);
    lines.push({ type: 1, name, ...(size === 0 ? {} : { size }), payload: null, position: lines.length });
    if (type !== 'file' || size === 0) continue;
    await mkdir(dirname(join(files, name)), { recursive: true });
    await writeFile(join(files, name), bytes.subarray(offset, offset + size));
    at = offset + size;
  }
  raw(bytes.length);
  return gzipSync(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

async function addLayer(
  root: string,
  layer: BuiltLayer,
  id: string,
  parent: string | undefined,
): Promise<void> {
  const packed = await unpack(layer.tar, join(root, 'overlay', id, 'diff'));
  await change(join(root, 'overlay-layers/layers.json'), (list) => [
    ...list,
    {
      id,
      ...(parent === undefined ? {} : { parent }),
      'diff-digest': layer.diffId,
      'diff-size': layer.tar.length,
    },
  ]);
  await writeFile(join(root, 'overlay-layers', `${id}.tar-split.gz`), packed);
}

/** Add an image; gives the ids of its layers, the lowest first. */
export async function addStoredImage(
  root: string,
  image: BuiltSingleImage,
  names: readonly string[],
): Promise<readonly string[]> {
  const ids: string[] = [];
  for (const layer of image.layers) {
    const id = digestHex(digestOf(Buffer.from(`${ids.join()} ${layer.diffId}`)));
    await addLayer(root, layer, id, ids.at(-1));
    ids.push(id);
  }
  const id = digestHex(image.config.descriptor.digest);
  const { digest } = image.descriptor;
  const data: Record<string, Uint8Array> = {
    [image.config.descriptor.digest]: image.config.bytes,
    [`manifest-${digest}`]: image.manifests[0]?.bytes ?? Buffer.alloc(0),
    manifest: image.manifests[0]?.bytes ?? Buffer.alloc(0),
  };
  const folder = join(root, 'overlay-images', id);
  await mkdir(folder, { recursive: true });
  for (const [key, bytes] of Object.entries(data)) await writeFile(join(folder, bigDataFile(key)), bytes);
  const map = (value: (bytes: Uint8Array) => unknown): object =>
    Object.fromEntries(Object.entries(data).map(([key, bytes]) => [key, value(bytes)]));
  await change(join(root, 'overlay-images/images.json'), (list) => [
    ...list,
    {
      id,
      digest,
      names,
      layer: ids.at(-1),
      'big-data-names': Object.keys(data),
      'big-data-sizes': map((bytes) => bytes.length),
      'big-data-digests': map((bytes) => digestOf(bytes)),
    },
  ]);
  return ids;
}
