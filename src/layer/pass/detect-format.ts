/** How a layer blob is packed, by its first bytes: media types are often wrong. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { LayerFormat } from '../native/layer-addon.js';
import { isZeroBlock, parseHeaderBlock } from '../../store/tar/header-block.js';

/** Bytes that are looked at: one tar block. */
export const detectBytes = 512;

const others: readonly (readonly [name: string, magic: readonly number[]])[] = [
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
  ['lzip', [0x4c, 0x5a, 0x49, 0x50]],
];

const startsWith = (bytes: Uint8Array, magic: readonly number[]): boolean =>
  magic.every((byte, index) => bytes[index] === byte);

/** RFC 8878: a frame, or a skippable one (magic 0x184D2A50 to 0x184D2A5F). */
function isZstd(head: Uint8Array): boolean {
  if (startsWith(head, [0x28, 0xb5, 0x2f, 0xfd])) return true;
  return ((head[0] ?? 0) & 0xf0) === 0x50 && startsWith(head.subarray(1), [0x2a, 0x4d, 0x18]);
}

/**
 * @throws ImgfsError `unsupported` for encrypted layers and for compressions that imgfs does not read,
 *   `invalid-content` when the bytes are neither an archive nor a known compression.
 */
export function detectFormat(head: Uint8Array, mediaType: string): LayerFormat {
  if (mediaType.endsWith('+encrypted')) {
    throw new ImgfsError('unsupported', 'read layer: it is encrypted', {
      hint: 'decrypt the image first (skopeo copy --decryption-key); the blob can be read as it is stored',
    });
  }
  if (head.length === 0) return 'plain';
  if (startsWith(head, [0x1f, 0x8b])) return 'gzip';
  if (isZstd(head)) return 'zstd';
  const other = others.find(([, magic]) => startsWith(head, magic));
  if (other !== undefined) {
    throw new ImgfsError('unsupported', `read layer: it is compressed with ${other[0]}`, {
      hint: 'only gzip, zstd and uncompressed layers have a tree; the blob can be read as it is stored',
    });
  }
  if (head.length >= detectBytes) {
    const block = head.subarray(0, detectBytes);
    if (isZeroBlock(block) || typeof parseHeaderBlock(block) !== 'string') return 'plain';
  }
  throw new ImgfsError(
    'invalid-content',
    `read layer: neither a tar archive nor gzip or zstd (${mediaType})`,
    {
      hint: 'the blob can be read as it is stored',
    },
  );
}
