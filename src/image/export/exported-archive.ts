/** An image as one archive that is made while it is read. */
import type { TakeSegments } from '../../content/file-segment.js';
import type { ByteRange, CallOptions } from '../../store/store.js';

/** Formats an image can be exported in; `rootfs` is the flattened root file system. */
export type ExportFormat = 'oci' | 'docker' | 'rootfs';

/** An archive of known size, readable at any offset. */
export interface ExportedArchive {
  /** In bytes. */
  readonly size: number;
  /**
   * Fill `buffer` from `position`; resolves to the number of bytes, short only at the end.
   * @throws ImgfsError what reading the image throws.
   */
  read(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number>;
  /**
   * Find out what a range is made of, and give it to `take`: segments in order, without gaps, that may reach beyond it.
   * Not called when some of it is not on disk, whole and verified: `read` has it then.
   * @throws ImgfsError what opening the parts throws.
   */
  cover?(range: ByteRange, take: TakeSegments, options?: CallOptions): Promise<void>;
  /** Let go of what it reads from. Idempotent. */
  close(): Promise<void>;
}

/** What a consumer takes at once: large enough that asking costs nothing beside it. */
const pieceBytes = 1024 * 1024;

/** An archive as a stream, from its beginning; closes it at the end. */
export async function* archiveStream(
  archive: ExportedArchive,
  options: CallOptions = {},
): AsyncGenerator<Uint8Array, void> {
  try {
    for (let at = 0; at < archive.size;) {
      const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, archive.size - at));
      const length = await archive.read(buffer, at, options);
      if (length === 0) return;
      yield buffer.subarray(0, length);
      at += length;
    }
  } finally {
    await archive.close();
  }
}
