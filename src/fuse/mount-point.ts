/** Checks of a mount point before a driver gets it, and recovery of one whose daemon died. */
import { access, constants, mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import { findMount, imgfsMountType, readMountTable } from './mount-table.js';
import { unmountPath } from './unmount.js';

const log = createLogger('fuse');

/** A living file system answers stat at once; one that needs longer is treated as alive and busy. */
const livenessTimeoutMs = 2_000;

function refuse(mountPoint: string, cause: string, hint: string, error?: unknown): never {
  throw new ImgfsError('mount-unavailable', `mount at ${mountPoint}: ${cause}`, {
    path: mountPoint,
    hint,
    ...(error === undefined ? {} : { cause: error }),
  });
}

/** What stat(2) says of a mount point: its daemon is gone (`dead`), there, or silent. */
async function liveness(path: string): Promise<'alive' | 'dead' | 'silent'> {
  let timer: NodeJS.Timeout | undefined;
  const answer = stat(path).then(
    () => 'alive' as const,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOTCONN' ? ('dead' as const) : ('alive' as const)),
  );
  const silence = new Promise<'silent'>((resolve) => {
    timer = setTimeout(() => resolve('silent'), livenessTimeoutMs);
  });
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** The path with symbolic links resolved, also when a dead mount sits on it (realpath fails there). */
async function resolveMountPoint(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    const mounted = (await readMountTable()).some((entry) => entry.mountPoint === absolute);
    if (mounted) return absolute;
    throw error;
  }
}

/** Detach a mount of ours whose daemon died; refuse one that lives. */
async function recoverStaleMount(mountPoint: string): Promise<void> {
  const entry = await findMount(mountPoint);
  if (entry === undefined || entry.type !== imgfsMountType) return;
  const state = await liveness(mountPoint);
  if (state !== 'dead') {
    refuse(
      mountPoint,
      state === 'alive' ? 'imgfs is mounted there already' : 'imgfs is mounted there and does not answer',
      `use it, or unmount it first: imgfs umount ${state === 'alive' ? '' : '--force '}${mountPoint}`,
    );
  }
  log.info('detaching a mount whose daemon died', { mountPoint });
  await unmountPath(mountPoint, { lazy: true });
}

export interface MountPointOptions {
  /** Make the directory when it is missing. */
  readonly create: boolean;
  /** Mount over a directory that has entries: they are hidden while mounted. */
  readonly allowNonEmpty: boolean;
}

/**
 * Make sure that `path` can be mounted on; resolves to it, absolute and free of symbolic links.
 * @throws ImgfsError `mount-unavailable` with the next step.
 */
export async function prepareMountPoint(path: string, options: MountPointOptions): Promise<string> {
  if (options.create) {
    await mkdir(path, { recursive: true }).catch(() => {
      // A dead mount gives ENOTCONN or EEXIST here; whatever is wrong is found below.
    });
  }
  let mountPoint: string;
  try {
    mountPoint = await resolveMountPoint(path);
  } catch (error) {
    refuse(resolve(path), 'there is no such directory', `make it first: mkdir -p ${path}`, error);
  }
  await recoverStaleMount(mountPoint);
  const facts = await stat(mountPoint).catch((error: unknown) =>
    refuse(mountPoint, 'it cannot be looked at', 'choose another directory', error),
  );
  if (!facts.isDirectory()) refuse(mountPoint, 'it is not a directory', 'choose a directory');
  if (!options.allowNonEmpty) {
    const entries = await readdir(mountPoint).catch((error: unknown) =>
      refuse(mountPoint, 'it cannot be listed', 'choose a directory of yours', error),
    );
    if (entries.length > 0) {
      refuse(mountPoint, 'the directory is not empty', 'choose an empty one, or give --nonempty');
    }
  }
  await access(mountPoint, constants.W_OK).catch((error: unknown) =>
    refuse(mountPoint, 'you may not write there, so FUSE refuses it', 'choose a directory of yours', error),
  );
  return mountPoint;
}
