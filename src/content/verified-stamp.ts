/**
 * How a complete blob file says "my bytes have matched my name, and nobody wrote to me since": its modification
 * time is a function of its digest.
 *
 * Any write, truncate or replacement through the file system moves the time to now, so one fstat at open tells
 * whether the file has to be hashed again; a file that another tool put into the layout is hashed once for the
 * same reason. Nothing has to be stored, so nothing can be lost or torn. The access time is free to carry the
 * last use. Rot of the medium itself is found by `cache verify`, and for blobs read whole into memory always.
 */
import { setFileTimes } from './file-io.js';
import { digestHex, type Digest } from '../oci/digest.js';

/** 1980-01-01T00:00:00Z, where the times of FAT begin; they have a step of 2 seconds. */
const epochSeconds = 315_532_800;

/** Modification time that marks a verified blob, in whole seconds: 28 bits of the digest, the years 1980-1997. */
export function stampSeconds(digest: Digest): number {
  return epochSeconds + 2 * (Number.parseInt(digestHex(digest).slice(0, 7), 16) & 0x0fff_ffff);
}

/** Whether the file carries the stamp of this digest. */
export function isStamped(digest: Digest, stat: { readonly mtimeMs: number }): boolean {
  return stat.mtimeMs === stampSeconds(digest) * 1000;
}

/** Set the stamp, and the last use to now. */
export async function stamp(digest: Digest, fd: number): Promise<void> {
  await setFileTimes(fd, Date.now() / 1000, stampSeconds(digest));
}
