/** Drives one index pass in steps. The addon does it best; without it Node's own streams do. */
import type { DigestAlgorithm } from '../../oci/digest.js';
import { layerAddon, layerFormats, type IndexerStep, type LayerFormat } from '../native/layer-addon.js';
import type { IndexerHandle, LayerAddon } from '../native/layer-addon.js';
import type { LayerIndexer } from './layer-indexer.js';
import { NodeIndexer } from './node-indexer.js';

/** Decoded bytes that one step brings at most: 25 ms on a pool thread. */
const outBudget = 8 << 20;
/** Entries that one step brings at most: taking them in holds up the JavaScript thread for 4 ms. */
const entryBudget = 2048;

/** Decoded bytes between two places where reading can start: 220 KB of gzip for a small file, 3 ms to decode. */
export const spanBytes = 1200 * 1024;
/** Above this size of the blob spans are twice as long: the index of 10 GB stays below 60 MB. */
export const largeBlobBytes = 2 ** 31;

class NativeIndexer implements LayerIndexer {
  private readonly addon: LayerAddon;
  private readonly handle: IndexerHandle;

  constructor(addon: LayerAddon, handle: IndexerHandle) {
    this.addon = addon;
    this.handle = handle;
  }

  step(input: Uint8Array, finish: boolean): Promise<IndexerStep> {
    return this.addon.stepIndexer(this.handle, input, outBudget, entryBudget, finish ? 1 : 0);
  }

  keepDecoded(fd: number): void {
    this.addon.keepDecoded(this.handle, fd);
  }

  save(): Uint8Array {
    return this.addon.saveIndexer(this.handle);
  }
}

export interface IndexerOptions {
  readonly format: LayerFormat;
  readonly algorithm: DigestAlgorithm;
  readonly blobSize: number;
  /** Go on from what `save` gave. */
  readonly saved?: Uint8Array;
}

/** True when an index pass can be done in C++. */
function canUseAddon(addon: LayerAddon | undefined, format: LayerFormat): addon is LayerAddon {
  return addon !== undefined && (format !== 'zstd' || addon.hasZstd());
}

/**
 * Begin a pass, or go on with one. Undefined when `saved` is of no use here.
 * @throws ImgfsError `unsupported` when the format cannot be decoded.
 */
export function startIndexer(options: IndexerOptions): LayerIndexer | undefined {
  const addon = layerAddon();
  const length = options.blobSize > largeBlobBytes ? 2 * spanBytes : spanBytes;
  if (!canUseAddon(addon, options.format)) {
    return options.saved === undefined
      ? new NodeIndexer(options.format, options.algorithm, length)
      : undefined;
  }
  const algorithm = { sha256: 1, sha512: 2, blake3: 0 }[options.algorithm];
  const handle = addon.createIndexer(layerFormats.indexOf(options.format), algorithm, length);
  if (options.saved !== undefined && !addon.restoreIndexer(handle, options.saved)) return undefined;
  return new NativeIndexer(addon, handle);
}
