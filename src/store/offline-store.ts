/** A store that is never asked: everything the cache lacks fails at once with `offline`. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { ImageStore, TransportName } from './store.js';

function refuse(operation: string, id: string): never {
  throw new ImgfsError('offline', `${operation} ${id}: not in the cache, and --offline forbids the network`, {
    operation,
    hint: 'try without --offline',
  });
}

/** Stands in for the store with this id. */
export function createOfflineStore(transport: TransportName, id: string): ImageStore {
  return {
    transport,
    id,
    resolve: async () => refuse('resolve a name of', id),
    fetch: async () => refuse('fetch from', id),
    close: async () => {},
  };
}
