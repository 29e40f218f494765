/** Where an entry belongs: its name in the archive, cleaned the way container runtimes clean it. */
import { maxNameBytes, type Name } from '../../oci/name.js';

/** Linux PATH_MAX without the final NUL: no runtime can unpack an entry with a longer name. */
export const maxPathBytes = 4095;

export interface CleanPath {
  /** Directory inside the root, without slashes at either end; empty for the root. */
  readonly directory: Name;
  /** Last component; empty for the root itself. */
  readonly base: Name;
  /** The name held `..`: it was resolved as text and kept inside the root. */
  readonly hadDotDot: boolean;
}

/** True for names that need no cleaning: relative, no empty, `.` or `..` component. */
const isPlain = (path: string): boolean => path !== '' && !/(?:^|\/)\.{0,2}(?:\/|$)/.test(path);

function split(path: string, hadDotDot: boolean): CleanPath {
  const slash = path.lastIndexOf('/');
  return {
    directory: path.slice(0, Math.max(0, slash)) as Name,
    base: path.slice(slash + 1) as Name,
    hadDotDot,
  };
}

/**
 * Clean a name as Go's `path.Clean("/" + name)` does: `.` and empty components go, `..` takes one back and never
 * leaves the root. Returns the reason, as text, when no file can have the name.
 */
export function cleanPath(path: Name): CleanPath | string {
  if (path.length > maxPathBytes) return `name is longer than ${maxPathBytes} bytes`;
  let clean: string = path;
  let hadDotDot = false;
  if (!isPlain(path)) {
    const kept: string[] = [];
    for (const part of path.split('/')) {
      if (part === '..') {
        kept.pop();
        hadDotDot = true;
      } else if (part !== '' && part !== '.') {
        kept.push(part);
      }
    }
    clean = kept.join('/');
  }
  if (clean.length > maxNameBytes && clean.split('/').some((part) => part.length > maxNameBytes)) {
    return `name has a part longer than ${maxNameBytes} bytes`;
  }
  if (clean.includes('\0')) return 'name holds a NUL byte';
  return split(clean, hadDotDot);
}
