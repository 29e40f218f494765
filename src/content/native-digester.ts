/** A digest in the addon: hashes files on the thread pool, and goes on with bytes while a receiver writes them. */
import { getSystemErrorName } from 'node:util';
import { receiveAddon, type DigestHandle } from '../addon/receive-addon.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';
import type { RemoteDigester } from './helper-pool.js';

export interface NativeDigester extends RemoteDigester {
  readonly handle: DigestHandle;
  /** Everything before this offset is hashed. */
  readonly position: number;
}

/** Start a digest; undefined without the addon, and for an algorithm that it does not know. */
export function nativeDigester(algorithm: DigestAlgorithm): NativeDigester | undefined {
  const addon = receiveAddon();
  const handle = addon?.createDigest(algorithm);
  if (addon === undefined || handle === undefined) return undefined;
  return {
    handle,
    get position() {
      return addon.digestPosition(handle);
    },
    hashFile: async (fd, _start, end) => {
      const error = await addon.digestFile(handle, fd, end);
      const code = error === 0 ? undefined : getSystemErrorName(-error);
      if (code !== undefined) throw Object.assign(new Error(`hash file: ${code}`), { code });
      return addon.digestPosition(handle);
    },
    feed: (bytes) => addon.digestFeed(handle, bytes),
    finish: () => Promise.resolve(`${algorithm}:${addon.digestFinish(handle)}` as Digest),
    drop: () => Promise.resolve(),
  };
}
