/** A policy.json from a file. */
import { readFile } from 'node:fs/promises';
import { ImgfsError } from '../errors/imgfs-error.js';
import { parsePolicy, type Policy } from '../image/signatures/policy.js';

/** @throws ImgfsError `config` when it cannot be read, or has something in it that is not understood. */
export async function readPolicy(path: string): Promise<Policy> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new ImgfsError('config', `read policy ${path}: it cannot be read`, { path, cause });
  });
  return parsePolicy(bytes, path);
}
