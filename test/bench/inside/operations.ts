/** What is done to every tree, ours or a peer's; sh runs it in the root of the image. */

/** Files and words for Debian images, which the script that makes the images builds. */
export const operations = {
  cat: 'cat usr/lib/os-release | wc -c',
  find: 'find . | wc -l',
  grep: 'grep -rs localhost etc | wc -l',
  tar: 'tar c . | wc -c',
} as const;

export type Operation = keyof typeof operations;
export const operationNames = Object.keys(operations) as Operation[];
