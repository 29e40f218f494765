/** Files `signature-<n>` of a `dir:`, counted from 1 until one is missing (containers/image directory/directory_dest.go). */
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { maxSignatureBytes, maxSignatures } from '../lookaside/limits.js';
import { readSmallFile } from '../safe-open.js';
import { replaceFile } from '../write-file.js';

/** All signatures, in order; `prefix` is that of a child's. @throws ImgfsError `too-large`, `denied`. */
export async function readSignatures(root: string, prefix: string): Promise<readonly Uint8Array[]> {
  const found: Uint8Array[] = [];
  for (let number = 1; number <= maxSignatures; number += 1) {
    const bytes = await readSignature(root, `${prefix}signature-${number}`);
    if (bytes === undefined) break;
    found.push(bytes);
  }
  return found;
}

/** Write one behind the last; resolves to its path. @throws ImgfsError `too-large` when there are too many. */
export async function addSignature(root: string, prefix: string, signature: Uint8Array): Promise<string> {
  const known = await readSignatures(root, prefix);
  const same = known.findIndex((other) => Buffer.compare(other, signature) === 0);
  const number = same < 0 ? known.length + 1 : same + 1;
  const path = join(root, `${prefix}signature-${number}`);
  if (same >= 0) return path;
  if (number > maxSignatures || signature.length > maxSignatureBytes)
    throw new ImgfsError('too-large', `put signature into ${root}: it is too long, or there are too many`, {
      path: root,
    });
  await replaceFile(path, signature);
  return path;
}

async function readSignature(root: string, name: string): Promise<Uint8Array | undefined> {
  try {
    const options = { operation: 'read signature', within: [root], missing: 'not-found', maxBytes: maxSignatureBytes } as const; // prettier-ignore
    return (await readSmallFile(join(root, name), options)).bytes;
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return undefined;
    throw error;
  }
}
