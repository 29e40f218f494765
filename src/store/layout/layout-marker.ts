/** The file `oci-layout`, which makes a directory an image layout. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { asObject, field } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { fileError } from '../file-error.js';
import { readSmallFile } from '../safe-open.js';
import { makeDirectory, replaceFile } from '../write-file.js';
import { emptyIndex } from './layout-index.js';

/** What the file says. */
export const layoutText = JSON.stringify({ imageLayoutVersion: '1.0.0' });

/** The file oci-layout has 30 bytes; a kilobyte leaves room for spaces. */
const maxMarkerBytes = 64 * 1024;

/** Make the directories and files of an empty layout, where they are missing. @throws as {@link fileError}. */
export async function createLayout(path: string): Promise<void> {
  try {
    await makeDirectory(join(path, 'blobs', 'sha256'));
  } catch (error) {
    throw fileError(error, 'create image layout', path);
  }
  for (const [name, text] of [
    ['index.json', emptyIndex],
    ['oci-layout', layoutText],
  ] as const) {
    const file = join(path, name);
    const known = await stat(file).catch(() => undefined);
    if (known === undefined) await replaceFile(file, Buffer.from(text));
  }
}

/** @throws ImgfsError `invalid-content` when it is no layout, `unsupported` for a version other than 1. */
export async function checkLayoutVersion(root: string): Promise<void> {
  const marker = join(root, 'oci-layout');
  const options = { operation: 'read', within: [root], maxBytes: maxMarkerBytes } as const;
  const { bytes } = await readSmallFile(marker, { ...options, missing: 'not-found' }).catch(
    async (error: unknown) => {
      throw isImgfsError(error, 'not-found') || isImgfsError(error, 'not-dir')
        ? await notALayout(root)
        : error;
    },
  );
  checkLayoutVersionText(bytes, root);
}

/** The same for the content of the file; `where` is the layout's path. */
export function checkLayoutVersionText(bytes: Uint8Array, where: string): void {
  const marker = `${where}/oci-layout`;
  const document = asObject(parseUntrustedJson(bytes, { what: marker, maxBytes: maxMarkerBytes }), marker);
  const version = field(document, 'imageLayoutVersion');
  if (typeof version === 'string' && /^1\.[0-9]+\.[0-9]+$/.test(version)) return;
  throw new ImgfsError(
    'unsupported',
    `read ${marker}: imageLayoutVersion is ${JSON.stringify(version)?.slice(0, 80)}, not 1.x`,
    {
      path: marker,
    },
  );
}

async function notALayout(root: string): Promise<ImgfsError> {
  const isThere = (name: string): Promise<boolean> =>
    stat(join(root, name)).then(
      () => true,
      () => false,
    );
  const hint = (await isThere('index.json'))
    ? `if it is one all the same, write ${layoutText} into it`
    : (await isThere('manifest.json'))
      ? 'it looks like a directory of one image: use dir: instead of oci:'
      : 'choose the directory that has index.json and blobs/ in it';
  return new ImgfsError('invalid-content', `open image layout ${root}: the file oci-layout is missing`, {
    path: root,
    hint,
  });
}
