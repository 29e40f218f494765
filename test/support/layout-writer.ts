/** Writes built images as an OCI image layout directory (image-spec image-layout.md), for tests to read. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestAlgorithm, digestHex } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { descriptorJson, type BuiltBlob, type BuiltImage } from './image-builder.js';

export interface LayoutEntry {
  readonly image: BuiltImage;
  /** `org.opencontainers.image.ref.name`; none: an entry without a name. */
  readonly name?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

async function writeBlob(directory: string, blob: BuiltBlob): Promise<void> {
  const { digest } = blob.descriptor;
  const path = join(directory, 'blobs', digestAlgorithm(digest), digestHex(digest));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, blob.bytes);
}

/** Write (or replace) the layout in `directory`. */
export async function writeLayout(directory: string, entries: readonly LayoutEntry[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const { image } of entries) {
    for (const blob of [...image.blobs, ...image.manifests]) await writeBlob(directory, blob);
  }
  await writeFile(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeIndex(directory, entries.map(indexEntry));
}

/** Add one image to a layout that {@link writeLayout} made; a name moves as a tag does. */
export async function addToLayout(directory: string, entry: LayoutEntry): Promise<void> {
  for (const blob of [...entry.image.blobs, ...entry.image.manifests]) await writeBlob(directory, blob);
  const before = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as {
    manifests: { annotations?: Record<string, string> }[];
  };
  const kept = before.manifests.filter(
    (item) => entry.name === undefined || item.annotations?.[refName] !== entry.name,
  );
  await writeIndex(directory, [...kept, indexEntry(entry)]);
}

const refName = 'org.opencontainers.image.ref.name';

function indexEntry({ image, name, annotations }: LayoutEntry): Record<string, unknown> {
  const all = { ...annotations, ...(name === undefined ? {} : { [refName]: name }) };
  return descriptorJson({
    ...image.descriptor,
    ...(Object.keys(all).length === 0 ? {} : { annotations: all }),
  });
}

async function writeIndex(directory: string, manifests: readonly object[]): Promise<void> {
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  await writeFile(join(directory, 'index.json'), JSON.stringify(index));
}
