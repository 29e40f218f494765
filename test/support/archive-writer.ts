/** Archives of images as other tools write them, for tests to read. */
import { readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { digestHex } from '../../src/oci/digest.js';
import type { BuiltSingleImage } from './image-builder.js';
import { buildTar, type TarEntry } from './tar-builder.js';

/** The files of a directory as tar entries, in no particular order. */
export async function directoryEntries(directory: string): Promise<TarEntry[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile());
  return Promise.all(
    files.map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      return { name: relative(directory, path), content: await readFile(path) };
    }),
  );
}

/** Write a file at once, as a tool that replaces an archive does. */
export async function writeArchive(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(`${path}.new`, bytes);
  await rename(`${path}.new`, path);
}

export interface SavedImage {
  readonly image: BuiltSingleImage;
  readonly tags: readonly string[];
}

/** Members of `docker save` before Docker 25, in skopeo's order: metadata last, uncompressed layers by diffID. */
export function savedEntries(images: readonly SavedImage[]): TarEntry[] {
  const blobs = new Map<string, Uint8Array>();
  const manifest = images.map(({ image, tags }) => {
    const config = `${digestHex(image.config.descriptor.digest)}.json`;
    blobs.set(config, image.config.bytes);
    const layers = image.layers.map((layer) => {
      const name = `${digestHex(layer.diffId)}.tar`;
      blobs.set(name, layer.tar);
      return name;
    });
    return { Config: config, RepoTags: tags.length === 0 ? null : tags, Layers: layers };
  });
  return [
    ...[...blobs].map(([name, content]) => ({ name, content })),
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ];
}

/** The archive of {@link savedEntries}. */
export async function buildSaved(images: readonly SavedImage[]): Promise<Uint8Array> {
  return buildTar(savedEntries(images));
}
