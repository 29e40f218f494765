/** Where a verb writes to: a store that is made when it is not there yet, and the name in it. */
import { resolve } from 'node:path';
import { assertPusher } from '../image/upload/uploads.js';
import type { PushStore } from '../image/push-store.js';
import type { StoreDirectory } from '../image/stores.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import { isRegistryHost, withDefaultTag } from '../oci/reference.js';
import type { DockerDaemonStore } from '../store/docker-daemon/docker-daemon-store.js';
import { parseEngineName } from '../store/engine-name.js';
import type { ArchiveFormat } from '../store/archive/write/plan-images.js';
import { locationTarget, parseLocation } from '../store/location.js';
import { openStore } from '../store/open.js';
import type { ImageStore, Target } from '../store/store.js';

interface OpenedDestination {
  readonly target: Target;
  /** Closes what was opened for it. */
  close(): Promise<void>;
}

/** A store that takes blobs and manifests, or an archive, which is written as a whole. */
export type Destination = OpenedDestination &
  (
    | { readonly engine: DockerDaemonStore }
    | { readonly store: PushStore }
    | { readonly archive: { readonly format: ArchiveFormat; readonly path: string } }
  );

/**
 * Open the destination that an argument names. Layouts, archives and directories are made when they are missing.
 * @throws ImgfsError `usage`, `read-only-store`, and what opening throws.
 */
export async function openDestination(text: string, stores: StoreDirectory): Promise<Destination> {
  if (isRegistryHost(text)) {
    throw new ImgfsError('usage', `${JSON.stringify(text)} names a registry, not a repository in it`, {
      hint: `write ${text}/name:tag`,
    });
  }
  const location = parseLocation(text);
  if (location.transport === 'docker') {
    const { registry, ...target } = withDefaultTag(location.reference);
    const store: ImageStore = await stores.registry(registry);
    return { store: assertPusher(store), target, close: async () => undefined };
  }
  if (location.transport === 'docker-daemon') {
    const { openDockerDaemon } = await import('../store/docker-daemon/docker-daemon-store.js');
    const engine = await openDockerDaemon(parseEngineName(location.name));
    return { engine, target: locationTarget(location) ?? { repository: '' }, close: () => engine.close() };
  }
  if (!('path' in location)) {
    throw new ImgfsError('unsupported', `${location.transport}: cannot be written`, {
      hint: 'write to a registry, oci:, oci-archive:, docker-archive:, docker-daemon: or dir:',
    });
  }
  const { transport } = location;
  if (transport === 'oci-archive' || transport === 'docker-archive') {
    const target = locationTarget(location) ?? { repository: '' };
    return {
      archive: { format: transport, path: resolve(location.path) },
      target,
      close: async () => undefined,
    };
  }
  const store = await openStore({ ...location, path: resolve(location.path) }, { create: true });
  try {
    const target = locationTarget(location) ?? { repository: '' };
    return { store: assertPusher(store), target, close: () => store.close() };
  } catch (error) {
    await store.close();
    throw error;
  }
}
