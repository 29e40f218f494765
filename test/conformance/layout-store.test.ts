/** The store suite over OCI layouts: bare tags, and full names. */
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { addToLayout, writeLayout } from '../support/layout-writer.js';
import { tempDir } from '../support/temp.js';
import { storeSuite, type StoreFactory } from './store-suite.js';

function layouts(repository: string, otherRepository: string): StoreFactory {
  return async (t) => {
    const directory = await tempDir(t, 'layout');
    await writeLayout(directory, []);
    return {
      store: await openLayoutStore(directory),
      repository,
      otherRepository,
      addImage: (name, image, tag) => {
        const full = name === '' ? tag : `${name}:${tag}`;
        return addToLayout(directory, { image, ...(tag === undefined ? {} : { name: full as string }) });
      },
      reopen: () => openLayoutStore(directory),
    };
  };
}

const features = ['tags', 'repositories', 'statBlob', 'referrers', 'push', 'delete'] as const;

storeSuite('OCI layout, bare tags', layouts('', 'registry.example/group/app'), { features });
storeSuite('OCI layout, full names', layouts('registry.example/group/app', 'registry.example/other'), {
  features,
});
