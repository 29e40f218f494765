/** `/dev/fuse`, without which neither driver mounts anything on Linux. */
import { access, constants } from 'node:fs/promises';

const devicePath = '/dev/fuse';

async function isAccessible(mode: number): Promise<boolean> {
  return access(devicePath, mode).then(
    () => true,
    () => false,
  );
}

/**
 * Why this process cannot open `/dev/fuse`, with the next step; undefined when it can, or where there is no such
 * device (macOS). fusermount gives up the rights it has from its setuid bit before it opens the device, so that a user who may not
 * open it cannot mount through fusermount either (libfuse, util/fusermount.c).
 */
export async function findDeviceRefusal(): Promise<string | undefined> {
  if (process.platform !== 'linux') return undefined;
  if (!(await isAccessible(constants.F_OK))) {
    return `${devicePath} is missing: load the fuse module, or give the container the device`;
  }
  if (!(await isAccessible(constants.R_OK | constants.W_OK))) {
    return `you may not open ${devicePath}: chmod 0666 ${devicePath}, or give the container the device`;
  }
  return undefined;
}
