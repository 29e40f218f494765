/** What a store can do, as data: for people, scripts and `@store/capabilities.json` (regclient's `Info`). */
import {
  isBlobStatter,
  isDeleter,
  isPinger,
  isPusher,
  isRateLimited,
  isReferrersFinder,
  isRepositoryLister,
  isSearcher,
  isTagLister,
  type ImageStore,
  type TransportName,
} from './store.js';

/** True where the store has the method; a registry may still refuse it with `unsupported`. */
export interface StoreCapabilities {
  readonly transport: TransportName;
  readonly id: string;
  readonly listRepositories: boolean;
  readonly listTags: boolean;
  readonly statBlobs: boolean;
  readonly referrers: boolean;
  readonly push: boolean;
  readonly delete: boolean;
  readonly ping: boolean;
  readonly search: boolean;
  readonly rateLimit: boolean;
  /** Manifests must come before their blobs. No store of ours: each checks that the blobs are there. */
  readonly manifestPushFirst: boolean;
}

/** Asks nothing: it is what the code of the store has. */
export function storeCapabilities(store: ImageStore): StoreCapabilities {
  return {
    transport: store.transport,
    id: store.id,
    listRepositories: isRepositoryLister(store),
    listTags: isTagLister(store),
    statBlobs: isBlobStatter(store),
    referrers: isReferrersFinder(store),
    push: isPusher(store),
    delete: isDeleter(store),
    ping: isPinger(store),
    search: isSearcher(store) || isRepositoryLister(store),
    rateLimit: isRateLimited(store),
    manifestPushFirst: false,
  };
}
