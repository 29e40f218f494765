/** Open files whose bytes lie in a decoded layer. */
import type { BlobReader } from '../../content/content.js';
import type { Layer } from '../../layer/layer.js';
import type { ByteRange } from '../../store/store.js';
import type { FileBacking } from '../file-system.js';
import type { OpenFile } from '../node.js';

/** Where a file lies in its layer's decoded archive. */
export interface Extent {
  readonly start: number;
  readonly size: number;
}

/** A part of a layer's decoded file as the backing of a file. */
function decodedBacking(layer: Layer, { start, size }: Extent): FileBacking | undefined {
  const backing = layer.backing();
  if (backing === undefined) return undefined;
  const whole = { start, end: start + size };
  backing.hold(whole);
  const present = (): ByteRange[] =>
    backing.present(whole).map((range) => ({
      start: Math.max(0, range.start - start),
      end: Math.min(size, range.end - start),
    }));
  const file = layer.sharedFile();
  return {
    fd: backing.fd,
    baseOffset: start,
    ...(file === undefined ? {} : { file }),
    complete: () => {
      const [first] = present();
      return first !== undefined && first.start === 0 && first.end === size;
    },
    present,
    fill: (range, signal) =>
      layer.fillDecoded({ start: start + range.start, end: start + Math.min(size, range.end) }, { signal }),
  };
}

/** An archive that is not compressed is its own decoded form: the blob, once all of it is there and matches. */
function blobBacking(reader: BlobReader, { start, size }: Extent): FileBacking | undefined {
  const backing = reader.backing();
  if (backing?.complete !== true) return undefined;
  return {
    fd: backing.fd,
    baseOffset: start,
    complete: () => true,
    present: () => [{ start: 0, end: size }],
    fill: async () => undefined,
  };
}

/**
 * An open file. `extent` is undefined for files with holes, which have no single place. Closes `layer` and `blob`.
 */
export function openLayerFile(
  layer: Layer,
  blob: BlobReader | undefined,
  extent: Extent | undefined,
  read: OpenFile['read'],
): OpenFile {
  const backing =
    extent === undefined || extent.size === 0
      ? undefined
      : (decodedBacking(layer, extent) ?? (blob === undefined ? undefined : blobBacking(blob, extent)));
  return {
    // Pages of what may yet turn out to be wrong are not kept for who opens it next.
    keepCache: layer.isVerified,
    directIo: false,
    ...(backing === undefined ? {} : { backing }),
    read,
    close: async () => {
      await blob?.close();
      await layer.close();
    },
  };
}
