/** The names that are always the same in an image directory (DESIGN section 2). */

export const imageFileNames = [
  'manifest.json',
  'index.json',
  'config.json',
  'digest',
  'reference',
  'inspect.json',
  'history.json',
  'descriptor.json',
  'runconfig.json',
];

export const imageDirectoryNames = [
  'layers',
  'platforms',
  'referrers',
  'signatures',
  'sbom',
  'attestations',
  'files',
];

/** Names that belong to image directories and come with other rooms; reserved from the start. */
export const extensionNames = ['rootfs', 'export'];

const reserved: ReadonlySet<string> = new Set([...imageFileNames, ...imageDirectoryNames, ...extensionNames]);

/**
 * True for an entry of image directories. Such a name is never taken for the way to a repository on no evidence:
 * `missing/v1/manifest.json` is not a directory.
 */
export function isImageEntryName(name: string): boolean {
  return reserved.has(name);
}
