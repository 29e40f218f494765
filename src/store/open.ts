/**
 * From a location to an open store. Code of a transport is loaded when it is needed, and the ones that need more than a
 * path (registries, engines) are given by the caller: this file knows no configuration.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Platform } from '../oci/platform.js';
import { parseEngineName, type EngineName } from './engine-name.js';
import type { FileLocation, Location } from './location.js';
import type { CallOptions, ImageStore, TransportName } from './store.js';

/** How a store is opened. */
export interface OpenStoreOptions extends CallOptions {
  /** Make what is not there yet, where the transport can be written. */
  readonly create?: boolean;
  readonly readOnly?: boolean;
  /** Chooses among images of one name; default: this machine's. */
  readonly platform?: Platform;
  /** Where compressed archives are unpacked to. */
  readonly spoolDirectory?: string;
}

/** Opens the store of a location; the image in it is not looked at. */
export type StoreOpener = (location: Location, options: OpenStoreOptions) => Promise<ImageStore>;

/** Openers by transport; the transports that are not there are opened by imgfs itself. */
export type StoreOpeners = Partial<Record<TransportName, StoreOpener>>;

/**
 * Open a store: by the opener given for its transport, else by our own for layouts, archives and directories.
 * @throws ImgfsError `unsupported` when nobody can open that transport; whatever the store throws.
 */
export async function openStore(
  location: Location,
  options: OpenStoreOptions = {},
  openers: StoreOpeners = {},
): Promise<ImageStore> {
  const opener = openers[location.transport] ?? localOpeners[location.transport];
  if (opener !== undefined) return opener(location, options);
  throw new ImgfsError('unsupported', `open ${location.transport}: this build cannot open such stores`);
}

function pathOf(location: Location): string {
  if ('path' in location) return (location satisfies FileLocation).path;
  throw new ImgfsError('internal', `open ${location.transport}: not a location of a file`);
}

function engineOf(location: Location): EngineName {
  if ('name' in location) return parseEngineName(location.name);
  throw new ImgfsError('internal', `open ${location.transport}: not a location of an engine`);
}

const openArchive = async (
  transport: 'oci-archive' | 'docker-archive',
  location: Location,
  options: OpenStoreOptions,
): Promise<ImageStore> =>
  (await localCode[transport]()).openArchiveStore(transport, pathOf(location), options, options);

/** The code of the stores that are on this machine. */
const localCode = {
  oci: () => import('./layout/open-layout.js'),
  'oci-archive': () => import('./archive/archive-store.js'),
  'docker-archive': () => import('./archive/archive-store.js'),
  'containers-storage': () => import('./containers-storage/open-storage.js'),
  containerd: () => import('./containerd/open-containerd.js'),
  'docker-daemon': () => import('./docker-daemon/docker-daemon-store.js'),
  tarball: () => import('./tarball/open-tarball.js'),
  sif: () => import('./sif/open-sif.js'),
  dir: () => import('./dir/dir-store.js'),
};

/** Load what opening such a location needs, so that its first use does not have to. */
export async function loadStoreCode({ transport }: Location): Promise<void> {
  if (transport !== 'docker') await localCode[transport]();
}

/** Openers of the stores that are on this machine. */
export const localOpeners: StoreOpeners = {
  oci: async (location, options) => (await localCode.oci()).openLayoutStore(pathOf(location), options),
  'oci-archive': (location, options) => openArchive('oci-archive', location, options),
  'docker-archive': (location, options) => openArchive('docker-archive', location, options),
  'containers-storage': async (location, options) =>
    (await localCode['containers-storage']()).openContainersStorage(engineOf(location), options),
  containerd: async (location, options) =>
    (await localCode.containerd()).openContainerd(engineOf(location), options),
  'docker-daemon': async (location, options) =>
    (await localCode['docker-daemon']()).openDockerDaemon(engineOf(location), options),
  tarball: async (location, options) => (await localCode.tarball()).openTarball(pathOf(location), options),
  sif: async (location, options) => (await localCode.sif()).openSif(pathOf(location), options),
  dir: async (location, options) => (await localCode.dir()).openDirStore(pathOf(location), options),
};
