/** Where a layer comes from, and where an index of it may be that was made by others. */
import type { BlobSource } from '../content/content.js';
import type { CallOptions } from '../store/store.js';

/** Indexes of the layers of one image that lie beside it. */
export interface LayerIndexes {
  /** Names what is found here: equal for equal indexes. */
  readonly key: string;
  /** The manifest of the image names the index by its digest, or what does; else anybody can have put it there. */
  readonly isBound: boolean;
  /** SOCI's zTOC of the layer; undefined when there is none. @throws what the store throws. */
  ztoc(source: BlobSource, options?: CallOptions): Promise<BlobSource | undefined>;
}

export interface LayerSource extends BlobSource {
  /** SOCI indexes of the image. */
  readonly soci?: LayerIndexes;
  /** The packed table of contents of an eStargz layer that does not hold it itself. */
  readonly externalToc?: (options?: CallOptions) => Promise<BlobSource | undefined>;
}
