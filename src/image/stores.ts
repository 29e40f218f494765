/** All stores of one mount or one command: registries by host, local stores by name, each opened on first use. */
import { ImgfsError } from '../errors/imgfs-error.js';
import { normalizeRegistry } from '../oci/reference.js';
import type { ImageStore } from '../store/store.js';

/** Opens a store; called once, and again after a failure. */
export type StoreFactory = () => Promise<ImageStore>;

/** How stores are opened. */
export interface StoreDirectoryOptions {
  /** Opens the registry at `host[:port]` (normalized); should send nothing yet. */
  readonly openRegistry: (host: string) => Promise<ImageStore>;
  /** Local stores by the name they have at the root of the tree. */
  readonly locals?: ReadonlyMap<string, StoreFactory>;
}

/** Every store of a mount or command. */
export interface StoreDirectory {
  /** The registry at a host; one store for each registry, however it is spelled. */
  registry(host: string): Promise<ImageStore>;
  /** The `id` that the registry at `host` has as a store, without opening it. */
  registryId(host: string): string;
  /** Names of the local stores. */
  localNames(): readonly string[];
  /** @throws ImgfsError `not-found` for an unknown name, and what its factory throws. */
  local(name: string): Promise<ImageStore>;
  /** True when a local store has that name. */
  hasLocal(name: string): boolean;
  /** Close every store that was opened. */
  close(): Promise<void>;
}

/** Put the stores of a mount together. */
export function createStoreDirectory(options: StoreDirectoryOptions): StoreDirectory {
  const opened = new Map<string, Promise<ImageStore>>();
  let closed = false;

  const once = (key: string, open: StoreFactory): Promise<ImageStore> => {
    if (closed) return Promise.reject(new ImgfsError('internal', `open ${key}: the stores are closed`));
    const known = opened.get(key);
    if (known !== undefined) return known;
    const opening = open();
    opened.set(key, opening);
    opening.catch(() => {
      if (opened.get(key) === opening) opened.delete(key);
    });
    return opening;
  };

  return {
    registry: (host) => {
      const name = normalizeRegistry(host);
      return once(`registry ${name}`, () => options.openRegistry(name));
    },
    registryId: (host) => `docker://${normalizeRegistry(host)}`,
    localNames: () => [...(options.locals?.keys() ?? [])],
    hasLocal: (name) => options.locals?.has(name) ?? false,
    local: (name) => {
      const factory = options.locals?.get(name);
      if (factory !== undefined) return once(`local ${name}`, factory);
      return Promise.reject(new ImgfsError('not-found', `no local store is named ${JSON.stringify(name)}`));
    },
    close: async () => {
      closed = true;
      const stores = await Promise.allSettled(opened.values());
      opened.clear();
      await Promise.allSettled(
        stores.map(async (store) => store.status === 'fulfilled' && store.value.close()),
      );
    },
  };
}
