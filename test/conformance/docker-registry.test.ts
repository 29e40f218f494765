/** The store suite over Debian's docker-registry: a server that is not ours. */
import { skipWithout } from '../support/child.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { pushImage } from '../support/push-image.js';
import { openTestStore } from '../support/registry-client.js';
import { storeSuite, type StoreFactory } from './store-suite.js';

const docker: StoreFactory = async (t) => {
  const server = await startDockerRegistry();
  const store = openTestStore(server);
  t.after(async () => {
    await store.close();
    await server.close();
  });
  return {
    store,
    repository: 'group/app',
    otherRepository: 'other',
    addImage: (repository, image, tag) => pushImage(server.url, repository, image, tag),
    reopen: async () => openTestStore(server),
  };
};

const skip = skipWithout('docker-registry');
if (skip === false) {
  storeSuite('docker-registry', docker, {
    features: ['tags', 'repositories', 'statBlob', 'referrers', 'push', 'delete'],
    untag: false,
    referrersFromBehind: false,
    otherAlgorithms: false,
  });
} else {
  console.log(`# SKIP docker-registry: ${skip}`);
}
