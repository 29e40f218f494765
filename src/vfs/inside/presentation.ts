/** How entries of layers are shown: owner, symbolic links, attributes. */
import { nameToText, type Name } from '../name.js';

export interface Presentation {
  /** Whose files these are: as the layer says, or of who mounted. */
  readonly owner: 'image' | 'mounter';
  /** `inside`: targets are rewritten so that they do not leave the root of the tree. */
  readonly symlinks: 'raw' | 'inside';
  /** Show `security.*` and `trusted.*` too. */
  readonly allXattrs: boolean;
}

export const defaultPresentation: Presentation = { owner: 'image', symlinks: 'raw', allXattrs: false };

/** True for an extended attribute of a layer that is shown. */
export function isShownXattr(name: Name, presentation: Presentation): boolean {
  const text = nameToText(name);
  // Ours tell about the tree; an image must not be able to speak for it.
  if (text.startsWith('user.imgfs.') || text.startsWith('user.oci.')) return false;
  return presentation.allXattrs || !/^(security|trusted|system)\./.test(text);
}

/**
 * A target that stays inside: absolute ones become relative to the root of the tree, and leading `..` go no further
 * up than to it. `depth` is the number of directories between the root and the link. What follows a name is left
 * alone, since only the kernel knows where that name leads.
 */
export function targetInside(target: Name, depth: number): Name {
  const isAbsolute = target.startsWith('/');
  const parts = target.split('/');
  let start = 0;
  let up = isAbsolute ? depth : 0;
  for (; start < parts.length; start += 1) {
    const part = parts[start];
    if (part === '..') up = Math.min(depth, isAbsolute ? depth : up + 1);
    else if (part !== '' && part !== '.') break;
  }
  if (!isAbsolute && parts.slice(0, start).filter((part) => part === '..').length <= depth) return target;
  const rest = parts.slice(start).join('/');
  const above = Array.from({ length: up }, () => '..').join('/');
  const joined = above === '' || rest === '' ? `${above}${rest}` : `${above}/${rest}`;
  return (joined === '' ? '.' : joined) as Name;
}

/** Device number as the FUSE protocol carries it: Linux `new_encode_dev` (include/linux/kdev_t.h). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
