/**
 * The kernel's table of mounts (proc_pid_mountinfo(5)). Reading it never touches a mounted file system, so a
 * process may look its own mount up here.
 */
import { readFile } from 'node:fs/promises';

export interface MountTableEntry {
  /** Absolute, symbolic links resolved, octal escapes undone. */
  readonly mountPoint: string;
  /** `fuse.imgfs`, `ext4`… */
  readonly type: string;
  readonly source: string;
  /** `major:minor` of the file system. */
  readonly device: string;
}

/** The type under which every mount of ours appears. */
export const imgfsMountType = 'fuse.imgfs';

function unescapeOctal(field: string): string {
  return Buffer.from(
    field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    'latin1',
  ).toString('utf8');
}

/** Parse the text of `/proc/self/mountinfo`; lines it does not understand are left out. */
export function parseMountInfo(text: string): MountTableEntry[] {
  return text.split('\n').flatMap((line) => {
    const fields = Buffer.from(line, 'utf8').toString('latin1').split(' ');
    const separator = fields.indexOf('-', 6);
    const [, , device, , mountPoint] = fields;
    const type = fields[separator + 1];
    const source = fields[separator + 2];
    if (separator < 0 || device === undefined || mountPoint === undefined || type === undefined) return [];
    return [{ mountPoint: unescapeOctal(mountPoint), type, source: unescapeOctal(source ?? ''), device }];
  });
}

/** All mounts that this process can see; empty where there is no /proc (macOS). */
export async function readMountTable(): Promise<MountTableEntry[]> {
  try {
    return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
  } catch {
    return [];
  }
}

/** What is mounted exactly there; the newest where mounts are stacked. `path` must be absolute and resolved. */
export async function findMount(path: string): Promise<MountTableEntry | undefined> {
  return (await readMountTable()).filter((entry) => entry.mountPoint === path).at(-1);
}
