/**
 * The native driver: our addon speaks the FUSE protocol itself (docs/ARCHITECTURE.md). It answers from its own threads
 * what needs no JavaScript, and hands complete files to the kernel where it may.
 */
import { access, constants } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { loadAddon } from '../../addon/load-addon.js';
import { errnoNumber } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isWritable, rootInode, type Caller, type FileSystem } from '../../vfs/file-system.js';
import { findDeviceRefusal } from '../device.js';
import type { DriverAvailability, FuseDriver, MountOptions, MountSession } from '../driver.js';
import { loadAddonFuse, type AddonFuse, type AddonMountResult } from './addon-fuse.js';
import { Dispatcher } from './dispatcher.js';
import { isPlain, kernelLimits } from './kernel-features.js';
import { NativeSession } from './session.js';
import { startWatchdog } from './watchdog.js';

/** 256 pages of 4 KiB: the largest request under the kernel's default fs.fuse.max_pages_limit. */
const maxReadBytes = 1_048_576;

/** The largest request; 128 KiB, the kernel's default, needs eight round trips for the same bytes. */
const readAheadKib = maxReadBytes / 1024;

/** More readers than that were not faster (0.25 against 0.30 of ext4 with four on two cores). */
const maxReaders = 4;

/**
 * Operations that wait until a store has something (close, fsync, a copy inside a registry) may take so many times
 * longer than others: a registry that verifies a blob of 10 GB at 100 MB/s needs 100 s to answer the last PUT.
 */
const slowFactor = 10;

/** The root's attributes are wanted before the first request; without them JavaScript is asked, as for any inode. */
const rootTimeoutMs = 2_000;

/** Path of the setuid helper; undefined when it is not installed. */
async function findHelper(): Promise<string | undefined> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/bin', '/usr/local/bin'];
  for (const folder of folders.filter((folder) => folder.startsWith('/'))) {
    const path = join(folder, 'fusermount3');
    const executable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (executable) return path;
  }
  return undefined;
}

async function availability(): Promise<DriverAvailability> {
  if (process.platform !== 'linux') return { usable: false, reason: 'the native driver needs Linux' };
  const loaded = loadAddonFuse();
  if (loaded.fuse === undefined) return { usable: false, reason: loaded.reason };
  const refusal = await findDeviceRefusal();
  if (refusal !== undefined) return { usable: false, reason: refusal };
  if (process.getuid?.() === 0) return { usable: true, reason: 'native addon, mounts by itself as root' };
  const helper = await findHelper();
  return helper === undefined
    ? { usable: false, reason: 'fusermount3 is missing: install the fuse3 package' }
    : { usable: true, reason: 'native addon, mounts through fusermount3' };
}

function mountFailure(mountPoint: string, result: AddonMountResult): ImgfsError {
  const cause = result.output === '' ? `${result.step}: errno ${result.error}` : result.output;
  const hint = /user_allow_other/.test(result.output)
    ? 'add user_allow_other to /etc/fuse.conf, or mount without allow_other'
    : result.step === 'open /dev/fuse'
      ? 'give this user access to /dev/fuse'
      : 'imgfs doctor shows what is missing';
  return new ImgfsError('mount-unavailable', `mount at ${mountPoint}: ${cause}`, { path: mountPoint, hint });
}

interface Mounted {
  readonly fd: number;
  readonly helper: string;
}

/** Mount by ourselves as root, else, or when that is not allowed (a container), through the helper. */
async function mountDevice(fuse: AddonFuse, mountPoint: string, options: MountOptions): Promise<Mounted> {
  const common = {
    mountPoint,
    fsName: options.fsName,
    readOnly: options.readOnly,
    allowOther: options.allowOther,
    maxRead: maxReadBytes,
  };
  const helper = await findHelper();
  if (process.getuid?.() === 0) {
    const result = await fuse.mount({ ...common, helper: '' });
    if (result.fd >= 0) return { fd: result.fd, helper: '' };
    if (result.error !== errnoNumber('EPERM') || helper === undefined) throw mountFailure(mountPoint, result);
  }
  if (helper === undefined) {
    throw new ImgfsError('mount-unavailable', `mount at ${mountPoint}: fusermount3 is missing`, {
      path: mountPoint,
      hint: 'install the fuse3 package, or mount as root',
    });
  }
  const result = await fuse.mount({ ...common, helper });
  if (result.fd < 0) throw mountFailure(mountPoint, result);
  return { fd: result.fd, helper };
}

/** Attributes of the root, so that the first stat of the mount point needs no JavaScript. */
async function primeRoot(fileSystem: FileSystem, dispatcher: Dispatcher): Promise<void> {
  const caller: Caller = {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    pid: process.pid,
    signal: AbortSignal.timeout(rootTimeoutMs),
  };
  const { attributes, attrTtlMs } = await fileSystem.getattr(caller, rootInode);
  dispatcher.packed.setAttributes(attributes, { attrTtlMs, entryTtlMs: 0 });
  dispatcher.session?.putAttributes();
}

async function mount(
  mountPoint: string,
  fileSystem: FileSystem,
  options: MountOptions,
): Promise<MountSession> {
  const loaded = loadAddonFuse();
  const addon = loadAddon();
  if (loaded.fuse === undefined || addon.addon === undefined) {
    throw new ImgfsError('mount-unavailable', `mount at ${mountPoint}: the native addon cannot be loaded`, {
      path: mountPoint,
      hint: loaded.fuse === undefined ? loaded.reason : 'run npm run build:native',
    });
  }
  const { fuse } = loaded;
  const dispatcher = new Dispatcher(fileSystem, options);
  // Before the mount: there is no moment at which a crash leaves one behind.
  const watchdog = startWatchdog(addon.path, mountPoint, (await findHelper()) ?? '');
  const { fd, helper } = await mountDevice(fuse, mountPoint, options).catch((error: unknown) => {
    watchdog?.dismiss();
    throw error;
  });
  const session = fuse.start({
    mountPoint,
    helper,
    fd,
    readers: Math.min(maxReaders, Math.max(2, availableParallelism())),
    operationTimeoutMs: options.operationTimeoutMs,
    slowTimeoutMs: options.operationTimeoutMs * slowFactor,
    maxRead: maxReadBytes,
    passthrough: !isPlain(),
    allXattrs: options.allXattrs === true,
    ...kernelLimits(),
    writable: !options.readOnly && isWritable(fileSystem),
    words: dispatcher.words,
    names: dispatcher.names,
    packed: dispatcher.packed.bytes,
    onBatch: dispatcher.onBatch,
    onShareUsed: dispatcher.onShareUsed,
  });
  dispatcher.session = session;
  const native = new NativeSession({
    mountPoint,
    helper,
    fuse,
    session,
    dispatcher,
    watchdog,
    readAheadKib: isPlain() ? undefined : readAheadKib,
  });
  await primeRoot(fileSystem, dispatcher).catch((error: unknown) => dispatcher.report('getattr', error));
  await native.start(fileSystem);
  return native;
}

/** The driver object; the addon is loaded at its first use. */
export const nativeDriver: FuseDriver = { name: 'native', availability, mount };
