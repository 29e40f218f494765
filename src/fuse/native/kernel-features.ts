/**
 * What the driver may be told to do without, to see on one machine what it does on others.
 *
 * `IMGFS_FUSE_PLAIN=1`: without what only root may. `IMGFS_FUSE_WITHOUT=passthrough,readdirplus…`: without these
 * features of the kernel; `all`: what Linux 5.4 had, in its version of the protocol.
 */

/** Bits of INIT (linux/fuse.h), those of `flags2` from 32 up. */
const featureBits: Readonly<Record<string, number>> = {
  'async-read': 0,
  'big-writes': 5,
  readdirplus: 13,
  'readdirplus-auto': 14,
  'async-dio': 15,
  'parallel-dirops': 18,
  'max-pages': 22,
  'cache-symlinks': 23,
  'explicit-inval-data': 25,
  'expire-only': 35,
  passthrough: 37,
};

/** Linux 5.4: FUSE 7.31. */
const oldestMinor = 31;

export interface KernelLimits {
  /** Flags of INIT that are not asked for. */
  readonly withoutFlags: number;
  /** 0: the newest that is spoken. */
  readonly mostMinor: number;
}

/** True when what only root may is left alone. */
export function isPlain(): boolean {
  return process.env['IMGFS_FUSE_PLAIN'] === '1';
}

/** What `IMGFS_FUSE_WITHOUT` says; names that it does not know are left out. */
export function kernelLimits(without = process.env['IMGFS_FUSE_WITHOUT'] ?? ''): KernelLimits {
  const all = without === 'all';
  const names = all ? Object.keys(featureBits) : without.split(',');
  const bits = new Set(names.flatMap((name) => featureBits[name.trim()] ?? []));
  return {
    withoutFlags: [...bits].reduce((sum, bit) => sum + 2 ** bit, 0),
    mostMinor: all ? oldestMinor : 0,
  };
}
