/** `platforms/`: every child of an index as an image directory, attestations left to their own directory. */
import type { Image } from '../../image/image.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestHex } from '../../oci/digest.js';
import { platformDirectoryNames } from '../../oci/platform.js';
import { isAttestationManifest } from '../../oci/select-manifest.js';
import type { CallOptions } from '../../store/store.js';
import { nameToText } from '../name.js';
import type { DirectoryNode, VfsNode } from '../node.js';
import { safeComponent } from '../safe-name.js';
import type { TreeContext } from '../tree-context.js';
import { LazyDirectory } from './lazy-directory.js';

/** Names of the children: by platform, or by the first digits of the digest where none is given. */
export function platformNames(children: readonly Descriptor[]): readonly (readonly [string, Descriptor])[] {
  const withPlatform = children.flatMap((child) => (child.platform === undefined ? [] : [child]));
  const names = platformDirectoryNames(withPlatform.flatMap((child) => child.platform ?? []));
  const named = withPlatform.map(
    (child, index) => [nameToText(safeComponent(names[index] ?? '')), child] as const,
  );
  const others = children
    .filter((child) => child.platform === undefined)
    .map((child) => [`unknown-${digestHex(child.digest).slice(0, 12)}`, child] as const);
  return [...named, ...others];
}

export function platformsDirectory(context: TreeContext, image: Image): DirectoryNode {
  return new LazyDirectory(context, async (options: CallOptions) => {
    const index = await image.index(options);
    const children = (index?.manifests ?? []).filter((child) => !isAttestationManifest(child));
    return new Map<string, VfsNode>(
      platformNames(children).map(([name, child]) => [name, context.imageNode(image.child(child))]),
    );
  });
}
