/** The store suite over directories of one image. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex } from '../../src/oci/digest.js';
import { openDirStore } from '../../src/store/dir/dir-store.js';
import { tempDir } from '../support/temp.js';
import { storeSuite, type StoreFactory } from './store-suite.js';

const directories: StoreFactory = async (t) => {
  const directory = await tempDir(t, 'dir');
  return {
    store: await openDirStore(directory, { create: true }),
    repository: '',
    onlyTag: 'latest',
    addImage: async (_name, image) => {
      for (const { descriptor, bytes } of image.blobs) {
        await writeFile(join(directory, digestHex(descriptor.digest)), bytes);
      }
      for (const { descriptor, bytes } of image.manifests) {
        const isRoot = descriptor.digest === image.descriptor.digest;
        const name = isRoot ? 'manifest.json' : `${digestHex(descriptor.digest)}.manifest.json`;
        await writeFile(join(directory, name), bytes);
      }
    },
    reopen: () => openDirStore(directory),
  };
};

storeSuite('directory of one image', directories, {
  features: ['tags', 'repositories', 'statBlob', 'push', 'delete'],
  single: true,
  untag: false,
  referrersFromBehind: false,
});
