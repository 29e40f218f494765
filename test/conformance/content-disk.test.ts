import { openContentCache } from '../../src/content/disk.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { contentSuite } from './content-suite.js';

contentSuite('disk', {
  open: async (t, options = {}) => {
    const directory = await makeTempDir('content');
    const cache = await openContentCache({ directory, ...options });
    t.after(async () => {
      await cache.close();
      await removeTempDir(directory);
    });
    return cache;
  },
});
