/**
 * The fallback driver: libfuse 2 through the npm package `fuse-native`.
 *
 * It works where our addon cannot be loaded, at 0.15 of ext4's throughput and 20,000 stat/s. It has no
 * invalidation, so nothing is kept in the page cache over an open, and names live one second in the kernel.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isWritable, type FileSystem } from '../../vfs/file-system.js';
import { findDeviceRefusal } from '../device.js';
import type { DriverAvailability, FuseDriver, MountOptions, MountSession } from '../driver.js';
import { findMount } from '../mount-table.js';
import { unmountPath } from '../unmount.js';
import { assertLoadable, createLibfuseMount } from './binding.js';
import { LibfuseBridge } from './bridge.js';
import { readOperations } from './read-operations.js';
import { refusedWriteOperations, writeOperations } from './write-operations.js';

/** libfuse does not tell when somebody else unmounts: the mount table is read this often (a 5 KB file). */
const mountTablePollMs = 1_000;

/** fuse_mount takes its options as one string and copies 1024 bytes of it (fuse-native.c). */
const maxOptionBytes = 1023;

/** Seconds, as a string so that it is not dropped for being falsy. */
const kernelTimeoutSeconds = '1';

function mountOptions(options: MountOptions): object {
  const extra = ['nosuid', 'nodev', 'use_ino', ...(options.readOnly ? ['ro'] : [])];
  const fsname = options.fsName.replace(/[\\,]/g, '_');
  const result = {
    // The package knows no `use_ino` and no `ro`; behind a comma they reach libfuse all the same.
    fsname: [fsname, ...extra].join(','),
    subtype: 'imgfs',
    timeout: false,
    allowOther: options.allowOther,
    defaultPermissions: options.allowOther,
    entryTimeout: kernelTimeoutSeconds,
    attrTimeout: kernelTimeoutSeconds,
  };
  if (Buffer.byteLength(result.fsname) > maxOptionBytes - 200) {
    throw new ImgfsError('usage', 'mount: the name of the file system is too long', {
      hint: 'choose a shorter fsname',
    });
  }
  return result;
}

async function availability(): Promise<DriverAvailability> {
  try {
    assertLoadable();
  } catch (error) {
    return {
      usable: false,
      reason: error instanceof ImgfsError ? `${error.message}; ${error.hint ?? ''}` : String(error),
    };
  }
  const refusal = await findDeviceRefusal();
  if (refusal !== undefined) return { usable: false, reason: refusal };
  return {
    usable: true,
    reason: 'libfuse 2 through fuse-native: works, without passthrough and invalidation',
  };
}

class LibfuseSession implements MountSession {
  readonly mountPoint: string;
  readonly closed: Promise<void>;
  readonly #bridge: LibfuseBridge;
  readonly #poll: NodeJS.Timeout;
  #settle: () => void = () => {};

  constructor(mountPoint: string, bridge: LibfuseBridge) {
    this.mountPoint = mountPoint;
    this.#bridge = bridge;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#poll = setInterval(() => void this.#check(), mountTablePollMs);
  }

  async #check(): Promise<void> {
    if (process.platform === 'linux' && (await findMount(this.mountPoint)) === undefined)
      await this.#finish();
  }

  async #finish(): Promise<void> {
    clearInterval(this.#poll);
    await this.#bridge.close();
    this.#settle();
  }

  statistics(): Readonly<Record<string, number>> {
    return this.#bridge.statistics();
  }

  async unmount(options: { readonly force?: boolean } = {}): Promise<void> {
    await unmountPath(this.mountPoint, { lazy: options.force === true });
    await this.#finish();
  }
}

async function mount(
  mountPoint: string,
  fileSystem: FileSystem,
  options: MountOptions,
): Promise<MountSession> {
  const bridge = new LibfuseBridge(fileSystem, options);
  const writes =
    isWritable(fileSystem) && !options.readOnly
      ? writeOperations(bridge, fileSystem)
      : refusedWriteOperations();
  const operations = { ...writes, ...readOperations(bridge) };
  const libfuse = createLibfuseMount(mountPoint, operations, mountOptions(options));
  await new Promise<void>((resolve, reject) => {
    libfuse.mount((error) => (error === null ? resolve() : reject(error)));
  }).catch((error: unknown) => {
    throw new ImgfsError('mount-unavailable', `mount at ${mountPoint}: libfuse refused`, {
      cause: error,
      path: mountPoint,
      hint: 'imgfs doctor shows what is missing',
    });
  });
  return new LibfuseSession(mountPoint, bridge);
}

/** The driver object; loading the package happens at its first use. */
export const fuseNativeDriver: FuseDriver = { name: 'fuse-native', availability, mount };
