/** The store suite over what is read where another program keeps it: containerd's content, and OCI-SIF files. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestHex } from '../../src/oci/digest.js';
import { openContainerd } from '../../src/store/containerd/open-containerd.js';
import { openSif } from '../../src/store/sif/open-sif.js';
import { sifTypes } from '../../src/store/sif/sif-file.js';
import { buildBolt, varint } from '../support/bolt-writer.js';
import { descriptorJson, type BuiltBlob, type BuiltImage } from '../support/image-builder.js';
import { buildSif } from '../support/sif-writer.js';
import { tempDir } from '../support/temp.js';
import { storeSuite, type StoreFactory } from './store-suite.js';

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, bytes);
  await rename(`${path}.new`, path);
}

const containerd: StoreFactory = async (t) => {
  const root = await tempDir(t, 'containerd');
  const images = new Map<string, BuiltImage>();
  const write = (): Promise<void> => {
    const targets = [...images].map(([name, { descriptor }]) => {
      const { digest, mediaType, size } = descriptor;
      const target = { digest: Buffer.from(digest), mediatype: Buffer.from(mediaType), size: varint(size) };
      return [name, { target }] as const;
    });
    const database = buildBolt({ v1: { default: { images: Object.fromEntries(targets) } } });
    return replace(join(root, 'io.containerd.metadata.v1.bolt/meta.db'), database);
  };
  await write();
  const store = await openContainerd({ root });
  t.after(() => store.close());
  return {
    store,
    repository: 'registry.example/group/app',
    otherRepository: 'docker.io/library/other',
    addImage: async (name, image, tag) => {
      for (const { descriptor, bytes } of [...image.blobs, ...image.manifests]) {
        const [algorithm = ''] = descriptor.digest.split(':');
        const folder = join(root, 'io.containerd.content.v1.content/blobs', algorithm);
        await replace(join(folder, digestHex(descriptor.digest)), bytes);
      }
      images.set(tag === undefined ? `${name}@${image.descriptor.digest}` : `${name}:${tag}`, image);
      await write();
    },
  };
};

const sif: StoreFactory = async (t) => {
  const path = join(await tempDir(t, 'sif'), 'image.sif');
  const blobs = new Map<string, BuiltBlob>();
  let manifests: { annotations?: object }[] = [];
  const write = (): Promise<void> => {
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }));
    const parts = [...blobs].map(([digest, { bytes }]) => ({
      type: sifTypes.ociBlob,
      content: bytes,
      extra: Buffer.from(digest),
    }));
    return replace(path, buildSif([...parts, { type: sifTypes.ociRootIndex, content: index }]));
  };
  await write();
  const store = await openSif(path);
  t.after(() => store.close());
  return {
    store,
    repository: '',
    otherRepository: 'registry.example/group/app',
    addImage: async (name, image, tag) => {
      for (const blob of [...image.blobs, ...image.manifests]) blobs.set(blob.descriptor.digest, blob);
      const ref = name === '' ? tag : `${name}:${tag}`;
      const annotations =
        tag === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': ref } };
      const others = manifests.filter(
        (entry) =>
          tag === undefined || JSON.stringify(entry.annotations) !== JSON.stringify(annotations.annotations),
      );
      manifests = [...others, { ...descriptorJson(image.descriptor), ...annotations }];
      await write();
    },
  };
};

const features = ['tags', 'repositories', 'statBlob', 'referrers'] as const;

storeSuite('containerd', containerd, { features });
storeSuite('OCI-SIF', sif, { features });
