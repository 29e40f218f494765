/** The cache directory: made, or recognised as one of ours, before anything is put into it or removed from it. */
import { promises as fs } from 'node:fs';
import { ImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import { knownNames, type CachePaths } from './cache-paths.js';
import { replaceFile } from './durable.js';
import { errorCode } from './file-io.js';

const log = createLogger('content');

/** image-spec image-layout.md, "oci-layout File". */
const layout = '{"imageLayoutVersion":"1.0.0"}\n';
const emptyIndex = `${JSON.stringify(
  { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] },
  undefined,
  2,
)}\n`;

/**
 * Make the directory a cache. Folders are 0700: content may come from private registries.
 * Returns false when it cannot be written: the cache then reads what is there and keeps nothing.
 * @throws ImgfsError `config` when the directory holds something else, or is no directory.
 */
export async function prepareDirectory(paths: CachePaths): Promise<boolean> {
  const { directory } = paths;
  try {
    await fs.mkdir(directory, { recursive: true, mode: 0o700 });
    refuseForeign(directory, await fs.readdir(directory));
    for (const folder of [paths.blobs, paths.partials, paths.refs]) {
      await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await writeIfMissing(paths.layoutFile, layout);
    await writeIfMissing(paths.indexFile, emptyIndex);
    return true;
  } catch (error) {
    const code = errorCode(error);
    if (error instanceof ImgfsError) throw error;
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw new ImgfsError('config', `open cache ${directory}: not a directory`, {
        path: directory,
        cause: error,
        hint: 'choose another --cache-dir',
      });
    }
    log.warn('the cache cannot be written, nothing will be kept', { directory, error: String(error) });
    return false;
  }
}

/** Eviction removes files: never in a directory that belongs to something else. */
function refuseForeign(directory: string, names: readonly string[]): void {
  if (names.length === 0 || names.some((name) => knownNames.has(name))) return;
  throw new ImgfsError('config', `open cache ${directory}: it holds other files`, {
    path: directory,
    hint: 'choose an empty or a new directory with --cache-dir',
  });
}

async function writeIfMissing(path: string, text: string): Promise<void> {
  try {
    if ((await fs.stat(path)).size > 0) return;
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  await replaceFile(path, text, 0o644);
}
