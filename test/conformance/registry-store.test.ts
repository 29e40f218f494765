/** The store suite over registries: each way in which servers differ. */
import { startFaultRegistry, type FaultRegistryOptions } from '../support/fault-registry/index.js';
import { openTestStore } from '../support/registry-client.js';
import { storeSuite, type StoreFactory, type StoreSuiteOptions } from './store-suite.js';

const login = { username: 'me', password: 'secret' };
const users = { me: 'secret' };
const all: StoreSuiteOptions = {
  features: ['tags', 'repositories', 'statBlob', 'referrers', 'push', 'delete'],
};

function fault(options: FaultRegistryOptions): StoreFactory {
  return async (t) => {
    const registry = await startFaultRegistry(options);
    const open = () => {
      const store = openTestStore(registry, options.auth === undefined ? {} : { login });
      t.after(() => store.close());
      return store;
    };
    t.after(() => registry.close());
    return {
      store: open(),
      repository: 'group/app',
      otherRepository: 'other',
      addImage: async (repository, image, tag) => void registry.addImage(repository, image, tag),
      reopen: async () => open(),
    };
  };
}

storeSuite('registry by the spec', fault({}), all);

storeSuite(
  'registry with bearer tokens, storage elsewhere and short pages',
  fault({ auth: { kind: 'bearer', users }, redirectBlobs: true, pageSize: 2, tagParameter: true }),
  all,
);

storeSuite(
  'registry over TLS with basic auth, ranges ignored, few headers',
  fault({
    tls: true,
    auth: { kind: 'basic', users },
    ranges: 'ignored',
    digestHeader: false,
    absoluteLinks: true,
  }),
  all,
);

storeSuite(
  'registry without referrers, mounts and single POST',
  fault({ mounts: false, singlePost: false, referrersFilter: false, chunkMinLength: 4096 }),
  { ...all, mounts: false },
);

// A tag cannot be deleted there, and referrers that another tool pushed have no fallback tag.
storeSuite('registry with the habits of docker-registry 2.8', fault({ dialect: 'docker-2.8' }), {
  ...all,
  untag: false,
  referrersFromBehind: false,
});
