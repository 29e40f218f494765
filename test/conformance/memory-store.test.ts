/** The suite over its own reference: what is red here is wrong in the suite. */
import { MemoryStore } from '../support/memory-store.js';
import { storeSuite } from './store-suite.js';

storeSuite(
  'memory',
  async () => {
    const store = new MemoryStore();
    return {
      store,
      repository: 'group/app',
      otherRepository: 'other',
      addImage: async (repository, image, tag) => store.addImage(repository, image, tag),
      reopen: async () => store.reopen(),
    };
  },
  { features: ['tags', 'repositories', 'statBlob', 'referrers', 'push', 'delete'] },
);
