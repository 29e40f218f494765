/** What a verb is given to read: a file, or `-` for what comes through stdin. */
import { createReadStream } from 'node:fs';
import { ImgfsError } from '../errors/imgfs-error.js';
import { fileError } from '../store/file-error.js';

/** Few turns for large files; a pipe gives 64 KiB at a time whatever is asked. */
const chunkBytes = 1024 * 1024;

/**
 * Opened when the first chunk is taken: a stream that fails before somebody reads it ends the process.
 * @throws ImgfsError `not-found` and what else a file fails with.
 */
export async function* readInput(path: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* path === '-' ? process.stdin : createReadStream(path, { highWaterMark: chunkBytes });
  } catch (error) {
    throw fileError(error, 'read', path === '-' ? 'stdin' : path, { missing: 'not-found' });
  }
}

/** All of it. @throws as `readInput`; `too-large` when it is more than `maxBytes`. */
export async function readWholeInput(path: string, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of readInput(path)) {
    length += chunk.length;
    if (length > maxBytes)
      throw new ImgfsError('too-large', `read ${path}: it is more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
