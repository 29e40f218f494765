/** The store suite over archives: an image layout in a tar, and one that `docker load` takes as well. */
import { join } from 'node:path';
import { openArchiveStore, type ArchiveTransport } from '../../src/store/archive/archive-store.js';
import { directoryEntries, writeArchive } from '../support/archive-writer.js';
import { addToLayout, writeLayout } from '../support/layout-writer.js';
import { buildTar, type TarEntry } from '../support/tar-builder.js';
import { tempDir } from '../support/temp.js';
import { storeSuite, type StoreFactory } from './store-suite.js';

function archives(transport: ArchiveTransport, extra: readonly TarEntry[]): StoreFactory {
  return async (t) => {
    const directory = await tempDir(t, 'archive');
    const [layout, path] = [join(directory, 'layout'), join(directory, 'archive.tar')];
    const pack = async (): Promise<void> =>
      writeArchive(path, await buildTar([...(await directoryEntries(layout)), ...extra]));
    await writeLayout(layout, []);
    await pack();
    const store = await openArchiveStore(transport, path);
    t.after(() => store.close());
    return {
      store,
      repository: '',
      otherRepository: 'registry.example/group/app',
      addImage: async (name, image, tag) => {
        const full = name === '' ? tag : `${name}:${tag}`;
        await addToLayout(layout, { image, ...(tag === undefined ? {} : { name: full as string }) });
        await pack();
      },
    };
  };
}

const features = ['tags', 'repositories', 'statBlob', 'referrers'] as const;

storeSuite('OCI archive', archives('oci-archive', []), { features });
storeSuite(
  'Docker archive that is a layout too',
  archives('docker-archive', [{ name: 'manifest.json', content: '[]' }]),
  { features },
);
