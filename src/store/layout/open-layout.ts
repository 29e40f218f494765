/** Opening and making image layouts. */
import { realpath } from 'node:fs/promises';
import { fileError } from '../file-error.js';
import { checkLayoutVersion, createLayout } from './layout-marker.js';
import { LayoutStore, type LayoutStoreOptions } from './layout-store.js';

/** How a layout is opened. */
export interface OpenLayoutOptions extends LayoutStoreOptions {
  /** Make an empty layout when there is none. */
  readonly create?: boolean;
}

/**
 * Open (or with `create`, make) a layout.
 * @throws ImgfsError `not-found` when the directory is missing, `invalid-content` when it is no layout, `unsupported`
 *   for a layout version other than 1.
 */
export async function openLayoutStore(path: string, options: OpenLayoutOptions = {}): Promise<LayoutStore> {
  if (options.create === true) await createLayout(path);
  const root = await realpath(path).catch((error: unknown) => {
    throw fileError(error, 'open image layout', path, { missing: 'not-found' });
  });
  await checkLayoutVersion(root);
  return new LayoutStore(root, options);
}
