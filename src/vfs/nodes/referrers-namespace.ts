/** `referrers/<alg>/<hex>/`: artifacts that name the image as their subject, as image directories. */
import type { Image } from '../../image/image.js';
import type { Digest } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import type { DirectoryNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { found, missing } from './answers.js';
import type { DigestNamespace } from './digest-directories.js';

export function referrersNamespace(context: TreeContext, image: Image): DigestNamespace {
  const { tagTtlMs } = context.images;
  const load = async (options: CallOptions) => {
    const descriptors = await context.images.related.referrers(image, options);
    return new Map<Digest, DirectoryNode>(
      descriptors.map((descriptor) => [descriptor.digest, context.imageNode(image.sibling(descriptor))]),
    );
  };
  return {
    childType: 'directory',
    lookup: async (digest, options) => {
      const node = (await load(options)).get(digest);
      return node === undefined ? missing(context.lifetimes.negativeMs) : found(node, tagTtlMs);
    },
    list: async (options) =>
      [...(await load(options))].map(([digest, node]) => ({ digest, found: found(node, tagTtlMs) })),
  };
}
