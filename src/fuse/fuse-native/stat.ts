/** Attributes as the binding wants them. */
import type { Attributes, FileType } from '../../vfs/file-system.js';
import type { LibfuseStat } from './binding.js';

/** S_IFMT bits of each type (stat(2)). */
const typeBits: Readonly<Record<FileType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
};

/** The kernel asks for at most 128 KiB at once here; st_blksize tells programs so. */
const preferredReadBytes = 128 * 1024;

function toMilliseconds(nanoseconds: bigint): number {
  // libfuse gets unsigned milliseconds: times before 1970 become 1970.
  return Math.max(0, Number(nanoseconds / 1_000_000n));
}

export function toStat(attributes: Attributes): LibfuseStat {
  return {
    mode: attributes.mode | typeBits[attributes.type],
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    nlink: attributes.nlink,
    ino: attributes.inode % 2 ** 32,
    rdev: attributes.rdev,
    blksize: preferredReadBytes,
    blocks: attributes.blocks,
    mtime: toMilliseconds(attributes.mtimeNs),
    atime: toMilliseconds(attributes.atimeNs),
    ctime: toMilliseconds(attributes.ctimeNs),
  };
}
