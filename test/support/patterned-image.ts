/** An image of large layers, written without holding one in memory: as an OCI layout, and as an image directory. */
import { createWriteStream } from 'node:fs';
import { link, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { digestHex, digestOf, type Digest } from '../../src/oci/digest.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { descriptorJson } from './image-builder.js';
import { digestOfContent, patternedContent } from './patterned-blob.js';

const stepBytes = 2 ** 20;

/** Write `layout/` (tag `v1`) and `image/` below `directory`, each layer once on disk. */
export async function writePatternedImage(
  directory: string,
  layerCount: number,
  layerBytes: number,
): Promise<void> {
  const blobs = join(directory, 'layout', 'blobs', 'sha256');
  const image = join(directory, 'image');
  await mkdir(blobs, { recursive: true });
  await mkdir(join(image, 'layers'), { recursive: true });
  const blobPath = (digest: Digest): string => join(blobs, digestHex(digest));
  const layers: Descriptor[] = [];
  for (let position = 0; position < layerCount; position += 1) {
    const content = patternedContent(layerBytes, position + 1);
    const digest = digestOfContent(content);
    await pipeline(
      (async function* steps() {
        for (let at = 0; at < layerBytes; at += stepBytes)
          yield content.slice(at, Math.min(at + stepBytes, layerBytes));
      })(),
      createWriteStream(blobPath(digest)),
    );
    await link(blobPath(digest), join(image, 'layers', `${position}.tar.gz`));
    layers.push({ mediaType: mediaTypes.ociLayerGzip, digest, size: layerBytes });
  }
  const put = async (mediaType: string, document: unknown, name: string): Promise<Descriptor> => {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    await writeFile(blobPath(digest), bytes);
    await writeFile(join(image, name), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
  const config = { architecture: 'amd64', os: 'linux', rootfs };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: descriptorJson(await put(mediaTypes.ociConfig, config, 'config.json')),
    layers: layers.map(descriptorJson),
  };
  const entry = descriptorJson(await put(mediaTypes.ociManifest, manifest, 'manifest.json'));
  const annotations = { 'org.opencontainers.image.ref.name': 'v1' };
  await writeFile(join(directory, 'layout', 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(directory, 'layout', 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...entry, annotations }] }),
  );
}
